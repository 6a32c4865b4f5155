"""A Ray of a test's own: none is left from the test before, nor for the one after."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from scanner.cluster import start_ray
from tests.forking import forking_python

ALONE = {"address": "local", "log_to_driver": False, "include_dashboard": False}


@contextmanager
def local_ray(**options: Any) -> Iterator[None]:
    """Started as the commands do it, or with ``options`` of ray.init; it ends in any case."""
    ray.shutdown()
    own, sys.executable = sys.executable, forking_python()
    try:
        if options:
            ray.init(**({"log_to_driver": False} if "address" in options else ALONE), **options)
        else:
            start_ray(None)
        sys.executable = own
        yield
    finally:
        sys.executable = own
        ray.shutdown()
