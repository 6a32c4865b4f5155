"""Experiments on the testbed, one module each: ``python -m jobs.studies.X`` from a checkout."""
