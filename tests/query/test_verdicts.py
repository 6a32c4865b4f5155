"""Verdicts join a run through commits; a caption's newest one counts."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scanner.query import library, open_run
from scanner.run import Output
from scanner.run.verdicts import (
    FOLDER,
    MITIGATED,
    MITIGATED_FOLDER,
    TABLES,
    VERDICTS,
    verdict_commits,
)
from scanner.storage import Store
from tests.query.test_query import make_run


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def join(run: str, name: str, at: float, verdicts: dict[str, str], generation: int = 0) -> None:
    rows = [
        {"caption_id": i, "verdict": v, "verification": name, "verified_at": at}
        for i, v in verdicts.items()
    ]
    table = pa.Table.from_pylist(rows, VERDICTS)
    verdict_commits(Store(run)).commit(name, [Output(f"{FOLDER}/{TABLES}", table)], generation)


def precision(**given: str) -> tuple[str, dict[str, Any]]:
    query = library()["precision_at_depth"]
    return query.sql, query.bind(given)


def seen(run: str) -> dict[str, str]:
    rows = open_run(run).query("SELECT caption_id, verdict FROM verdicts").to_pylist()
    return {row["caption_id"]: row["verdict"] for row in rows}


def test_a_run_without_verdicts_has_an_empty_verdicts_view(run: str) -> None:
    tables = open_run(run)
    assert tables.query("FROM verdicts").schema.names == VERDICTS.names
    assert len(tables.query(*precision())) == 0


@pytest.mark.slow
def test_the_newest_verdict_of_a_caption_counts(run: str) -> None:
    join(run, "bbb", 1.0, {"a": "none", "b": "verbatim"})
    join(run, "aaa", 2.0, {"a": "template", "x": "none"})
    assert seen(run) == {"a": "template", "b": "verbatim", "x": "none"}
    join(run, "bbb", 3.0, {"a": "verbatim"}, generation=1)
    # What a verification has judged again is not looked for in its earlier table.
    assert seen(run) == {"a": "verbatim", "x": "none"}


@pytest.mark.slow
def test_mitigated_verdicts_are_kept_apart_by_strength(run: str) -> None:
    join(run, "aaa", 1.0, {"a": "verbatim"})
    for name, at, strength in (("b", 2.0, "1"), ("c", 3.0, "2"), ("d", 4.0, "2")):
        rows = [{"caption_id": "a", "verdict": f"of {name}", "verified_at": at}]
        table = pa.Table.from_pylist([row | {"mitigation": strength} for row in rows], MITIGATED)
        commits = verdict_commits(Store(run), MITIGATED_FOLDER)
        commits.commit(name, [Output(f"{MITIGATED_FOLDER}/{TABLES}", table)])
    assert seen(run) == {"a": "verbatim"}
    rows = open_run(run).query("SELECT mitigation, verdict FROM mitigated ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in rows] == [("1", "of b"), ("2", "of d")]


def test_a_table_that_no_commit_names_is_not_read(run: str) -> None:
    join(run, "aaa", 1.0, {"a": "verbatim"})
    (Path(run) / FOLDER / TABLES / "stray-000000000000-00.parquet").write_bytes(b"half a table")
    assert seen(run) == {"a": "verbatim"}


def test_another_runs_verdicts_are_attached_by_name(run: str, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other")
    join(other, "aaa", 1.0, {"a": "verbatim"})
    tables = open_run(run, {"other": other})
    assert tables.query("FROM verdicts").num_rows == 0
    assert tables.query("FROM other.verdicts").num_rows == 1


def test_precision_at_depth_counts_verified_captions(run: str) -> None:
    # The ranking is b, d, a.
    join(run, "aaa", 1.0, {"b": "verbatim", "a": "none", "elsewhere": "verbatim"})
    (row,) = open_run(run).query(*precision()).to_pylist()
    counts = {name: row[name] for name in ("depth", "verified", "verbatim", "template")}
    assert counts == {"depth": 3, "verified": 2, "verbatim": 1, "template": 0}
    # Wilson's interval for 1 of 2.
    assert row["precision"] == 0.5
    assert row["precision_low"] == pytest.approx(0.0945, abs=1e-4)
    assert row["precision_high"] == pytest.approx(0.9055, abs=1e-4)


@pytest.mark.slow
def test_precision_excludes_captions_without_compared_images(run: str) -> None:
    # The ranking is b, d, a.
    rows = [
        {"caption_id": "b", "verdict": "seed-consistent", "n_references": 0},
        {"caption_id": "d", "verdict": "template", "n_references": 2},
        {"caption_id": "a", "verdict": "none", "n_references": 0},
    ]
    table = pa.Table.from_pylist([row | {"verified_at": 1.0} for row in rows], VERDICTS)
    verdict_commits(Store(run)).commit("aaa", [Output(f"{FOLDER}/{TABLES}", table)])
    assert seen(run) == {"b": "seed-consistent", "d": "template", "a": "none"}
    (row,) = open_run(run).query(*precision()).to_pylist()
    counts = {name: row[name] for name in ("verified", "compared", "template", "seed_consistent")}
    assert counts == {"verified": 3, "compared": 1, "template": 1, "seed_consistent": 1}
    assert (row["verbatim"], row["precision"]) == (0, 1.0)
    (row,) = open_run(run).query(*precision(count_seed_consistent="1")).to_pylist()
    assert row["precision"] == pytest.approx(2 / 3)


def test_precision_is_null_without_compared_images(run: str) -> None:
    table = pa.Table.from_pylist(
        [{"caption_id": "b", "verdict": "seed-consistent", "n_references": 0, "verified_at": 1.0}],
        VERDICTS,
    )
    verdict_commits(Store(run)).commit("aaa", [Output(f"{FOLDER}/{TABLES}", table)])
    (row,) = open_run(run).query(*precision()).to_pylist()
    assert (row["verified"], row["compared"], row["precision"]) == (1, 0, None)
    assert row["precision_low"] is None
    assert row["precision_high"] is None
