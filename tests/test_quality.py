"""Lint, format and types, as the README's test command promises."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("scanner", "jobs", "tests")
COMMANDS = [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("vulture",)]
Function = ast.FunctionDef | ast.AsyncFunctionDef
FILE_LINES, FUNCTION_LINES, TEST_NAME = 300, 60, 60


@pytest.mark.parametrize(
    "command",
    COMMANDS,
    ids=" ".join,
)
def test_tools_have_no_complaint(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _sources() -> list[Path]:
    return [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


@functools.cache
def _functions_and_calls() -> dict[Path, list[Function | ast.Call]]:
    """Return the functions and calls of each source file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Call)
    return {
        path: [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, kinds)
        ]
        for path in _sources()
    }


def _functions() -> Iterator[tuple[Path, Function]]:
    for path, nodes in _functions_and_calls().items():
        yield from ((path, node) for node in nodes if not isinstance(node, ast.Call))


def test_no_file_is_too_long_to_hold_one_idea() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in _sources()}
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}


@pytest.mark.slow
def test_every_function_can_be_read_at_once() -> None:
    for path, function in _functions():
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= FUNCTION_LINES, f"{path}: {function.name} has {lines} lines"


def test_names_of_tests_are_short() -> None:
    names = [function.name for _, function in _functions() if function.name.startswith("test_")]
    assert len(names) > 1500
    assert [name for name in names if len(name) > TEST_NAME] == []


def _without_encoding(call: ast.Call) -> bool:
    """Whether a call opens a text file in the locale's encoding."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in named:
        return False
    function = call.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name in ("read_text", "write_text", "TextIOWrapper"):
        return True
    values = [
        node.value for node in (*call.args, *named.values()) if isinstance(node, ast.Constant)
    ]
    modes = [value for value in values if isinstance(value, str) and set(value) <= set("rwax+bt:|")]
    if name == "NamedTemporaryFile":
        return any("b" not in mode for mode in modes)
    if name == "open" and (isinstance(function, ast.Name) or modes or not call.args):
        return not any("b" in mode or ":" in mode for mode in modes)
    return False


def test_every_file_of_ours_is_opened_as_utf_8() -> None:
    for path, nodes in _functions_and_calls().items():
        if "tests" in path.relative_to(ROOT).parts:
            continue
        for call in (node for node in nodes if isinstance(node, ast.Call)):
            assert not _without_encoding(call), f"{path}:{call.lineno}: encoding='utf-8'"
