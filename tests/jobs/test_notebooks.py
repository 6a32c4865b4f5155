"""The notebooks run from top to bottom, and are stored without outputs."""

import ast
from pathlib import Path
from typing import Any

import altair as alt
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "jobs/notebooks").glob("*.ipynb"))


def run_notebook(path: Path) -> list[Any]:
    """Execute a notebook's code in this process; return the value that each cell shows."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "code":
            body = ast.parse(cell.source, f"{path.name}, cell {number}")
            last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
            exec(compile(body, f"{path.name}, cell {number}", "exec"), names)
            if last is not None:
                value = compile(ast.Expression(last.value), f"{path.name}, cell {number}", "eval")
                shown.append(eval(value, names))
    return shown


def charts_of(shown: list[Any]) -> list[dict[str, Any]]:
    return [value.to_dict() for value in shown if isinstance(value, alt.TopLevelMixin)]


@pytest.mark.slow
def test_score_and_explain_shows_what_tells_memorized_captions() -> None:
    (notebook,) = [path for path in NOTEBOOKS if path.stem == "score_and_explain"]
    columns, first, *rest = run_notebook(notebook)
    assert "noise_norm_low" in columns
    assert len(first) == 3
    points, effects = (chart["data"]["values"] for chart in charts_of(rest))
    norms = {
        kind: [row["noise_norm_low"] for row in points if row["memorized"] is kind]
        for kind in (True, False)
    }
    assert min(norms[True]) > max(norms[False])
    assert max(row["effect"] for row in effects) > 0.1, "some word carries the score"


def test_explore_a_run_shows_its_queries_and_charts(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memscan-demo").symlink_to(demo / "demo")
    monkeypatch.chdir(tmp_path)
    (notebook,) = [path for path in NOTEBOOKS if path.stem == "explore_a_run"]
    views, top, *rest = run_notebook(notebook)
    assert "ranked" in views
    assert len(top) == 10
    histogram, points = (chart["data"]["values"] for chart in charts_of(rest))
    captions = sum(row["captions"] for row in histogram)
    assert captions == sum(row["captions"] for row in points) > 800
    assert len(rest[-1]) == 5, "the named query has rows"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), "clear all outputs before you commit"
        assert cell.get("execution_count") is None
