"""Transient errors, one classifier per storage back end.

Each module has ``is_transient(error)``: whether retrying later can help, or None if the error is
not from its back end. Errors of optional clients are recognized by module and class name, since
these may not be installed and are slow to import.
"""
