"""Lint, format and types, as the README's test command promises."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("scanner", "jobs", "tests")
FILE_LINES, FUNCTION_LINES = 300, 60


@pytest.mark.parametrize(
    "command",
    [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("vulture",)],
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
