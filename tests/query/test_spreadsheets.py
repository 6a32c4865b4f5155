"""Lists for spreadsheets: no cell starts a formula, and nothing else changes."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.curation.curate import curate
from scanner.query import open_run, text_cell, text_cells
from tests.curation.runs import make_run, policy, rule
from tests.memscan import called
from tests.tables import write_table

BEGIN_FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"]
HARMLESS = ["", " =1", "a=1", "'=1", "1-1", "caption"]


def test_only_cells_that_start_a_formula_get_an_apostrophe() -> None:
    assert [text_cell(cell) for cell in BEGIN_FORMULAS] == [f"'{cell}" for cell in BEGIN_FORMULAS]
    assert [text_cell(cell) for cell in HARMLESS] == HARMLESS
    cells = [*BEGIN_FORMULAS, *HARMLESS]
    table = text_cells(pa.table({"=name": [*cells, None], "number": [-1.5] * (len(cells) + 1)}))
    assert table.column_names == ["'=name", "number"]
    assert table["'=name"].to_pylist() == [*map(text_cell, cells), None]
    assert table["number"].to_pylist()[0] == -1.5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("formulas")
    rows = [{"caption": cell, "key": cell} for cell in BEGIN_FORMULAS]
    write_table(folder / "data.parquet", rows)
    return make_run(
        folder / "run",
        lambda _: 9.0,
        captions=(str(folder / "data.parquet"),),
    )


def _cells(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [cell for row in csv.reader(file) for cell in row]


@pytest.mark.slow
@pytest.mark.parametrize("safe", [False, True])
def test_csv_safe_changes_the_csv_list_and_not_the_parquet(
    safe: bool, run: str, tmp_path: Path
) -> None:
    given = policy(rule("loud", "noise_norm_first > 5", "drop"))
    curate(run, open_run(run), given, str(tmp_path), force=True, csv_safe=safe)
    cells = _cells(tmp_path / "removal_list.csv")
    formulas = [cell for cell in cells if text_cell(cell) != cell and cell != "-1"]
    assert bool(formulas) is not safe
    exact = pq.read_table(tmp_path / "removal_list.parquet")["key"].to_pylist()
    assert set(exact) <= set(BEGIN_FORMULAS)


@pytest.mark.slow
def test_sql_and_rank_write_safe_csv_with_csv_safe(run: str, tmp_path: Path) -> None:
    query = 'SELECT caption, -1 AS number, 1 AS "=name" FROM captions'
    for words in (("sql", run, query), ("rank", run)):
        out = tmp_path / f"{words[0]}.csv"
        called(*words, "--out", str(out), "--csv-safe")
        cells = _cells(out)
        assert "'=1+1" in cells
        assert [cell for cell in cells if text_cell(cell) != cell] in (
            [],
            ["-1"] * cells.count("-1"),
        )
    shown = called("sql", run, query, "--format", "csv")
    assert "'=1+1" not in shown.stdout
    refused = called("sql", run, query, "--csv-safe", check=False)
    assert refused.returncode == 2
    assert "--csv-safe: the format must be csv, got table" in refused.stderr
