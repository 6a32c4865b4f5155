"""What the bench leaves out of a scan is the forwards, and nothing else."""

import json
from pathlib import Path

import duckdb
import pytest

from jobs.bench import BenchConfig, parts, pipeline
from jobs.bench.stubs import caption, write_captions
from scanner.cluster import start_ray

CAPTIONS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def scans(folder: Path) -> dict[str, pipeline.Timed]:
    """A scan with each stub, in a folder of its name."""
    files = write_captions(folder / "captions", CAPTIONS, 2)
    start_ray(None)
    return {
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
    rows = duckdb.sql(f"SELECT count(DISTINCT caption_id) FROM '{folder / stub}/scores/*.parquet'")
    assert rows.fetchall() == [(CAPTIONS,)]


def test_the_stubbed_u_net_leaves_tokens_and_trigger_words_real(
    folder: Path, scans: dict[str, pipeline.Timed]
) -> None:
    run = folder / "stub_unet"
    rows = duckdb.sql(
        f"SELECT caption, n_tokens, triggers FROM '{run}/scores/*.parquet' "
        f"JOIN '{run}/captions/*.parquet' USING (caption_id)"
    ).fetchall()
    assert {row[0] for row in rows} == {caption(number) for number in range(CAPTIONS)}
    for text, tokens, triggers in rows:
        assert tokens > len(text.split())
        assert triggers
        assert all(text[word["start"] : word["end"]] == word["text"] for word in triggers)


def test_parts_are_chosen_by_name_and_all_are_measured_by_default() -> None:
    assert parts(BenchConfig()) == {"model", "pipeline"}
    assert parts(BenchConfig(pipeline=True)) == {"pipeline"}
    assert parts(BenchConfig(model=("testbed",))) == {"model"}
