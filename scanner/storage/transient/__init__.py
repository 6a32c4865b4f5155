"""Transient errors, one classifier per storage back end.

Each module has ``is_transient(error)``: True for an error that retrying later helps, False for one
of its back end that it does not, None for an error of another back end. Clients that are optional
are recognized by module and class name, since importing them may be impossible and takes long.
"""
