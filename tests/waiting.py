"""Waiting for what must come, however slow the machine is today."""

import time
from collections.abc import Callable

# Far above what anything here takes: only what would never come fails by it.
SECONDS = 180.0


def wait_until(holds: Callable[[], object], why: str) -> None:
    """Until ``holds``; fails with ``why`` where it never does."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"after {SECONDS:.0f} s still: {why}"
        time.sleep(0.02)
