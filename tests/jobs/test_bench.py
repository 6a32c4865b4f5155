"""What the bench leaves out of a scan is the forwards, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from jobs.bench import BenchConfig, parts, pipeline, planning, sql
from jobs.bench.captions import caption, write_captions
from jobs.bench.sql_run import SCORES, made_up_run
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
def scans(folder: Path) -> Iterator[dict[str, pipeline.Timed]]:
    """A scan with each stub, in a folder of its name."""
    files = write_captions(folder / "captions", CAPTIONS, 2)
    with local_ray():
        yield {
            stub: pipeline.scan_with(files, folder / stub, 64, stub)
            for stub in ("ready_table", "stub_unet")
        }


@pytest.mark.parametrize("stub", ["ready_table", "stub_unet"])
def test_a_scan_with_a_stub_has_a_row_a_caption_and_watches_memory(
    stub: str, folder: Path, scans: dict[str, pipeline.Timed]
) -> None:
    timed = scans[stub]
    assert timed.captions == CAPTIONS
    counts = json.loads((folder / stub / "manifest-0001.json").read_text())["counts"]
    assert (counts["scored"], counts["scan_rejects"], counts["quarantined"]) == (CAPTIONS, 0, 0)
    found = pipeline.memory_of(timed)
    assert "driver" in found
    assert len(found) >= 2
    assert all(0 < one["final"] <= one["peak"] for one in found.values())
    rows = duckdb.connect().sql(
        f"SELECT count(DISTINCT caption_id) FROM '{folder / stub}/scores/*.parquet'"
    )
    assert rows.fetchall() == [(CAPTIONS,)]


def test_the_stubbed_u_net_leaves_tokens_and_trigger_words_real(
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


def test_planning_is_timed_by_stage_and_its_memory_is_a_process_s_own() -> None:
    found = planning.measure(600)
    assert (found["rows"], found["captions"]) == (600, 300)
    assert found["rows_per_second_read"] == pytest.approx(600 / found["seconds_read"])
    assert found["seconds_group"] > 0
    assert 0 < found["memory_before_bytes"] <= found["peak_memory_bytes"]


def test_parts_are_chosen_by_name_and_all_are_measured_by_default() -> None:
    assert parts(BenchConfig()) == {"model", "pipeline", "planning", "sql"}
    assert parts(BenchConfig(pipeline=True)) == {"pipeline"}
    assert parts(BenchConfig(model=("testbed",))) == {"model"}


def test_every_query_is_timed_on_a_made_up_run_and_reads_what_it_is_compared_with(
    tmp_path: Path,
) -> None:
    """A column that a query reads and the bare scan does not would flatter the bare scan."""
    run = made_up_run(tmp_path, 20_000)
    tables = open_run(run)
    assert tables.query("SELECT count(*) AS n FROM scores")["n"].to_pylist() == [20_000]
    for name, (parameters, columns) in sql.QUERIES.items():
        found = sql.time_query(run, name, rounds=1)
        assert found["rows"] > 0
        assert found["ratio_to_bare_scan"] > 0
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
    """Columns in what EXPLAIN lists: names, and conditions over them."""
    text = listed if isinstance(listed, str) else " ".join(listed)
    return set(re.findall(r"[a-z_]+", text)) & KNOWN
