"""Which tests are slow: ``pytest -m "not slow"`` leaves them out."""

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import pytest

# A test with one of these is slow, directly or through its fixtures.
SLOW_MARKS = ("faults", "fuzz", "pages")
SLOW_FIXTURES = {"browser", "demo", "s3", "testbed_run", "undisturbed"}
# Functions of tests that start processes, servers, a browser or Ray.
SLOW_FUNCTIONS = {
    "tests.local_ray.local_ray",
    "tests.memscan.memscan",
    "tests.servers.bucket_server",
    "tests.sessions.start_held",
    "tests.transcripts.printed",
}


def mark_slow(items: list[pytest.Item]) -> None:
    """Mark every slow test ``slow``, which some already are explicitly."""
    for item in items:
        if isinstance(item, pytest.Function) and is_slow(item):
            item.add_marker("slow")


def is_slow(item: pytest.Function) -> bool:
    """Return whether a test is slow by its marks, by its fixtures or by what it calls."""
    if any(item.get_closest_marker(name) for name in SLOW_MARKS):
        return True
    if SLOW_FIXTURES & set(item.fixturenames):
        return True
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    return any(
        starts_processes(function)
        for function in (item.function, *(each.func for each in (defs[-1] for defs in fixtures)))
    )


def starts_processes(function: Callable[..., Any]) -> bool:
    """Return whether a function, or a function of tests that it uses, starts processes or Ray."""
    pending, seen = [function], set()
    while pending:
        used = pending.pop()
        used = getattr(used, "__wrapped__", used)
        if not isinstance(used, FunctionType) or used in seen:
            continue
        seen.add(used)
        if f"{used.__module__}.{used.__qualname__}" in SLOW_FUNCTIONS:
            return True
        values = [used.__globals__.get(name) for name in _names(used.__code__)]
        if any(getattr(value, "__name__", "") == "ray" for value in values):
            return True
        pending += [value for value in values if _is_of_tests(value)]
    return False


def _names(code: CodeType) -> Iterator[str]:
    """Yield the global names of a function, nested functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_of_tests(value: Any) -> bool:
    return callable(value) and str(getattr(value, "__module__", "")).startswith("tests.")
