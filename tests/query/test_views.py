"""User SQL sees a run as views only, whatever the run has or lacks."""

import math
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from jobs import sql
from scanner.query import Calibration, SignalThreshold, binding_of, open_run
from scanner.query.constants import constant
from scanner.query.views import TABLES as VIEWS
from scanner.run import Output
from scanner.run.verdicts import MITIGATED, MITIGATED_FOLDER, TABLES, verdict_commits
from scanner.storage import Store
from tests.query.runs import make_run
from tests.query.test_verdicts import join

ROWS = [{"caption_id": "a", "caption": "a", "entropy_e": 1.0, "bos_mass": 0.5}]
THRESHOLDS = (
    SignalThreshold("it's; --", 0.1 + 0.2, True, 1e-300),
    SignalThreshold("bos_mass", -math.inf, False, 0.01),
)


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True])
def test_a_runs_tables_are_views(full: bool, tmp_path: Path) -> None:
    reject = {"source": "s.csv", "row": 1, "stage": "plan", "reason": "empty"}
    run = make_run(tmp_path / "run", ROWS, [reject] if full else None)
    calibration = None
    if full:
        join(run, "aaa", 1.0, {"a": "verbatim"})
        mitigated = {"caption_id": "a", "verdict": "none", "verified_at": 1.0, "mitigation": "m"}
        verdict_commits(Store(run), MITIGATED_FOLDER).commit(
            "b",
            [Output(f"{MITIGATED_FOLDER}/{TABLES}", pa.Table.from_pylist([mitigated], MITIGATED))],
        )
        binding = binding_of({"id": "f"})
        calibration = Calibration("file", binding, {"bos_mass": (1.0,)}, 0.0, THRESHOLDS)
    tables = open_run(run, {"other": run}, calibration)
    stored = "SELECT table_name FROM information_schema.tables WHERE table_type <> 'VIEW'"
    assert tables.query(stored).num_rows == 0
    assert tables.connection.execute("FROM duckdb_tables()").fetchall() == []
    for view in ("verdicts", "mitigated", "thresholds"):
        assert bool(tables.query(f"FROM {view}").num_rows) == full
    if full:
        assert tables.query("FROM thresholds").equals(calibration.thresholds_table())


def test_the_help_of_sql_names_every_view_but_the_inner_ones() -> None:
    views = {*VIEWS, "ranked", "signals", "thresholds", "flagged"} - {"texts"}
    sentence = (sql.__doc__ or "").split("over the views ")[1].split(".")[0]
    assert set(sentence.replace(",", " ").split()) - {"and"} == views


def test_a_table_round_trips_through_sql_text() -> None:
    table = pa.table(
        {
            'x" AS y; --': ["it's", None, "\n\\'; DROP"],
            "float": pa.array([1.1, math.inf, None], pa.float32()),
            "double": [5e-324, -0.0, 1 / 3],
            "true": [True, False, None],
            "long": pa.array([-(1 << 63), (1 << 63) - 1, None], pa.int64()),
        }
    )
    with duckdb.connect() as connection:
        assert connection.sql(constant(connection, table)).to_arrow_table().equals(table)
        nothing = connection.sql(constant(connection, table.slice(0, 0))).to_arrow_table()
        assert nothing.schema.equals(table.schema)
        assert nothing.num_rows == 0
