"""Waiting for what must come, however slow the machine is today."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
# Far above what anything here takes: only what would never come fails by it.
SECONDS = 180.0


def wait_until(holds: Callable[[], object], why: str) -> None:
    """Until ``holds``; fails with ``why`` where it never does."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"after {SECONDS:.0f} s still: {why}"
        time.sleep(0.02)


def run_in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it returns. In a thread: Playwright's tests leave a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
