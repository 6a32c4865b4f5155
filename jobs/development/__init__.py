"""Tools that write parts of this repository: ``python -m jobs.development.X`` from a checkout."""
