"""Lint, format and types, as the README's test command promises."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("scanner", "jobs", "tests")
COMMANDS = [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("vulture",)]
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


def test_no_file_is_too_long_to_hold_one_idea() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in _sources()}
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}


def test_every_function_can_be_read_at_once() -> None:
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= FUNCTION_LINES, f"{path}: {node.name} has {lines} lines"


def test_names_of_tests_are_short() -> None:
    names = [
        node.name
        for path in _sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
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
    for path in (path for path in _sources() if "tests" not in path.relative_to(ROOT).parts):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert not _without_encoding(node), f"{path}:{node.lineno}: encoding='utf-8'"
