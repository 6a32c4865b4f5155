"""Benchmarks skip only the forwards of a scan, and time all parts."""

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import duckdb
import pytest

from jobs.bench import BenchConfig, index, parts, pipeline, planning, planning_growth, sql
from jobs.bench.captions import caption, write_captions
from jobs.bench.sql_run import SCORES, synthetic_run
from scanner.query import library, open_run
from scanner.run.schema import CAPTIONS as CAPTIONS_SCHEMA
from scanner.run.schema import samples_schema
from tests.local_ray import local_ray

pytestmark = pytest.mark.slow

CAPTIONS = 300
KNOWN = {*SCORES.names, *CAPTIONS_SCHEMA.names, *samples_schema([]).names, "url"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with local_ray():
        yield


@pytest.fixture(scope="module")
def scans(folder: Path, ray: None) -> dict[str, pipeline.Timed]:
    """Run a scan with each stub, in a folder of that name."""
    files = write_captions(folder / "captions", CAPTIONS, 2)
    return {
        stub: pipeline.scan_with(files, folder / stub, 64, stub)
        for stub in ("ready_table", "stub_unet")
    }


def test_an_index_is_built_and_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "IMAGES_INDEXED", 8)
    figures = index.measure(1, vectors=3000)
    assert figures["searching"]["bytes"] == 3000 * 640
    assert set(figures["searching"]["queries"]) == {"1", "100", "1000"}
    assert all(one["gb_per_second"] > 0 for one in figures["searching"]["queries"].values())
    assert figures["indexing"]["images_per_second"] > 0
    assert "search of 3,000 vectors" in index.lines(figures)[0]


@pytest.mark.parametrize("stub", ["ready_table", "stub_unet"])
def test_a_stubbed_scan_scores_every_caption_and_records_memory(
    stub: str, folder: Path, scans: dict[str, pipeline.Timed]
) -> None:
    timed = scans[stub]
    assert timed.captions == CAPTIONS
    counts = json.loads((folder / stub / "manifest-0001.json").read_text())["counts"]
    assert (counts["scored"], counts["scan_rejects"], counts["quarantined"]) == (CAPTIONS, 0, 0)
    memory = pipeline.memory_of(timed)
    assert "driver" in memory
    assert len(memory) >= 2
    assert all(0 < one["final"] <= one["peak"] for one in memory.values())
    rows = duckdb.connect().sql(
        f"SELECT count(DISTINCT caption_id) FROM '{folder / stub}/scores/*.parquet'"
    )
    assert rows.fetchall() == [(CAPTIONS,)]


def test_a_stubbed_unet_keeps_real_tokens_and_trigger_words(
    folder: Path, scans: dict[str, pipeline.Timed]
) -> None:
    run = folder / "stub_unet"
    rows = (
        duckdb.connect()
        .sql(
            f"SELECT caption, n_tokens, triggers FROM '{run}/scores/*.parquet' "
            f"JOIN '{run}/captions/*.parquet' USING (caption_id)"
        )
        .fetchall()
    )
    assert {row[0] for row in rows} == {caption(number) for number in range(CAPTIONS)}
    for text, tokens, triggers in rows:
        assert tokens > len(text.split())
        assert triggers
        assert all(text[word["start"] : word["end"]] == word["text"] for word in triggers)


def test_planning_reports_time_per_stage_and_peak_memory(
    monkeypatch: pytest.MonkeyPatch, ray: None
) -> None:
    monkeypatch.setattr(planning, "in_new_process", lambda function, *words: function(*words))
    for module in (planning, planning_growth):
        monkeypatch.setattr(module, "FILES", 4)
    small = partial(planning_growth.calculate_growth, rows=(125_000_000,))
    monkeypatch.setattr(planning, "calculate_growth", small)
    figures = planning.measure(600)
    assert (figures["rows"], figures["captions"]) == (600, 300)
    assert figures["rows_per_second_read"] == pytest.approx(600 / figures["seconds_read"])
    assert figures["seconds_group"] > 0
    assert 0 < figures["memory_before_bytes"] <= figures["peak_memory_bytes"]
    images = figures["with_images"]
    assert images["captions"] == 300
    assert min(images["seconds_image_read"], images["seconds_image_group"]) > 0
    assert "seconds_image_read" not in figures
    assert figures["images_over_plain"] > 0
    quarter, whole = figures["growth"]
    for one in (quarter, whole):
        assert one["requests"] < one["with_images"]["requests"]
    assert whole["with_images"]["requests"] <= 5 * quarter["with_images"]["requests"]
    assert (quarter["rows"], whole["rows"]) == (150, 600)
    assert 0 < quarter["requests"] <= whole["requests"] <= 5 * quarter["requests"]
    for one in (quarter, whole):
        # Without the optional dependencies of Ray Data, the reason stands for its figures.
        assert one["ray_data"].keys() in (
            {"problem"},
            {"captions", "seconds", "bytes_shuffled_per_row"},
        )
    assert figures["calculated"][-1]["requests"] > 0


def test_what_is_measured_in_a_new_process_is_not_done_here() -> None:
    assert planning.in_new_process(os.getpid) != os.getpid()


def test_all_parts_are_measured_unless_some_are_chosen() -> None:
    assert parts(BenchConfig()) == {"model", "pipeline", "planning", "sql"}
    assert parts(BenchConfig(pipeline=True)) == {"pipeline"}
    assert parts(BenchConfig(model=("testbed",))) == {"model"}


def test_queries_are_compared_with_scans_of_the_same_columns(
    tmp_path: Path,
) -> None:
    """A plain read that omits a column of the query would be too fast."""
    run = synthetic_run(tmp_path, 20_000)
    tables = open_run(run)
    assert tables.query("SELECT count(*) AS n FROM scores")["n"].to_pylist() == [20_000]
    for name, (parameters, columns) in sql.QUERIES.items():
        figures = sql.time_query(run, name, rounds=1)
        assert figures["rows"] > 0
        assert figures["ratio_to_bare_scan"] > 0
        query = library()[name]
        plan = tables.connection.execute(
            f"EXPLAIN (FORMAT json) {query.sql}", query.bind(parameters)
        ).fetchall()[0][1]
        assert _columns_read(json.loads(plan)) == {name for one in columns.values() for name in one}


def _columns_read(plan: list[dict]) -> set[str]:
    read: set[str] = set()
    for node in plan:
        if node["name"].strip() == "READ_PARQUET":
            for kind in ("Projections", "Filters"):
                read |= _names(node["extra_info"].get(kind, []))
        read |= _columns_read(node["children"])
    return read


def _names(listed: str | list[str]) -> set[str]:
    """Return the columns among the names and conditions that EXPLAIN lists."""
    text = listed if isinstance(listed, str) else " ".join(listed)
    return set(re.findall(r"[a-z_]+", text)) & KNOWN
