"""Which tests are slow: ``pytest -m "not slow"`` leaves them out."""

import functools
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import pytest

# A test with one of these is slow, directly or through its fixtures.
SLOW_MARKS = ("faults", "fuzz", "inductor", "pages")
SLOW_FIXTURES = {
    *("azure", "browser", "demo", "gcs", "memscan", "s3", "testbed_run", "undisturbed"),
}
# Of the families of random models, the fast tests run one U-Net and one transformer.
SLOW_FAMILIES = {
    *("sd2", "sdxl", "sd3", "sd35-t5", "pixart-alpha", "pixart-sigma", "sana", "flux", "chroma"),
    *("qwen-image", "aura-flow", "cogview4", "lumina-2", "z-image"),
}
# Commands that start Ray, generate images or fit models, called by name or by their main.
SLOW_COMMANDS = {
    *("bench", "calibrate", "demo", "explain", "finetune", "group_images", "replicate", "scan"),
    *("score_samples", "verify"),
}
# Modules that a fast test calls no function of.
SLOW_MODULES = {"ray", "subprocess"}
# What starts processes, servers or Ray, or generates images.
SLOW_CALLS = {
    *(f"jobs.{command}.main" for command in SLOW_COMMANDS),
    "scanner.cluster.connection.starting.start_ray",
    "scanner.evidence.explain.explanation.explain",
    "tests.local_ray.local_ray",
    "tests.memscan.memscan",
    "tests.servers.Server",
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
    """Return whether a test is slow by its marks, fixtures, parameters or calls."""
    if any(item.get_closest_marker(name) for name in SLOW_MARKS):
        return True
    if SLOW_FIXTURES & set(item.fixturenames):
        return True
    if SLOW_FAMILIES & {value for value in _parameters(item).values() if isinstance(value, str)}:
        return True
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    return any(
        starts_processes(function)
        for function in (item.function, *(each.func for each in (defs[-1] for defs in fixtures)))
    )


def _parameters(item: pytest.Function) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


@functools.cache  # tests share fixtures, and parameters their function
def starts_processes(function: Callable[..., Any]) -> bool:
    """Return whether a function, or one of tests/ that it uses, makes one of the slow calls."""
    pending, seen = [function], set()
    while pending:
        used = inspect.unwrap(pending.pop())
        if not isinstance(used, FunctionType) or used in seen:
            continue
        seen.add(used)
        names, own_constants = _names_and_constants(used.__code__)
        values = {name: used.__globals__.get(name) for name in names}
        constants = own_constants | {word for each in values.values() for word in _words(each)}
        if _qualified(used) in SLOW_CALLS or ("called" in values and constants & SLOW_COMMANDS):
            return True
        if any(getattr(values[name], "__name__", "") == name for name in SLOW_MODULES & names):
            return True
        if SLOW_CALLS & {_qualified(value) for value in values.values()}:
            return True
        pending += [value for value in values.values() if _qualified(value).startswith("tests.")]
    return False


@functools.cache
def _names_and_constants(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return a function's global names and strings, including those of nested functions."""
    names, constants = set(code.co_names), set()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner_names, inner_constants = _names_and_constants(constant)
            names, constants = names | inner_names, constants | inner_constants
        elif isinstance(constant, str):
            constants.add(constant)
    return frozenset(names), frozenset(constants)


def _words(value: Any) -> tuple[str, ...]:
    """Return the strings of a tuple, as of the words of a command that several tests call."""
    return tuple(word for word in value if isinstance(word, str)) if type(value) is tuple else ()


def _qualified(value: Any) -> str:
    if not callable(value):
        return ""
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
