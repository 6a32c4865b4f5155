"""One file a command: ``memscan X`` is ``jobs/X.py``, and so is ``python -m jobs.X``."""
