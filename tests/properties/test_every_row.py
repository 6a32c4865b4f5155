"""Rows in are samples, rejects or skipped files, as an independent count has them."""

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.formats import ending_of
from scanner.curation import curate
from scanner.curation.copies.copying import apply
from scanner.query import open_run
from scanner.run import Run
from tests.curation.runs import loudness, make_run, policy, rule
from tests.properties.datasets import LOUD, Dataset, File, make_dataset, write

DROP = policy(rule("loud", "noise_norm_first > 5", "drop"))


def _run(data: Dataset, out: Path) -> str:
    # Texts have to be named; everything else is found below the directory.
    texts = [str(file.path) for file in data.files if ending_of(file.path.name) == ".txt"]
    return make_run(
        out, loudness, make_canonical=lambda: str.strip, captions=(str(data.folder), *texts)
    )


def _expected(data: Dataset) -> Counter[tuple]:
    """Every sample: file, row, key, canonical caption and url."""
    return Counter(
        (os.path.realpath(file.path), number, row.key, row.caption.strip(), row.url)
        for file in data.files
        for number, row in enumerate(file.rows)
        if row.caption and row.caption.strip()
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_every_row_is_a_sample_or_a_reject(seed: int, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", seed)
    run = _run(data, tmp_path / "run=1")
    plan = Run.existing(run).plan()
    assert plan is not None
    rows = sum(len(file.rows) for file in data.files)
    expected = _expected(data)
    assert plan.counts["rows"] == rows
    assert (plan.counts["samples"], plan.counts["rejects"]) == (
        expected.total(), rows - expected.total(),
    )  # fmt: skip
    assert plan.counts["rejected_files"] == 0
    texts = sum(ending_of(file.path.name) == ".txt" for file in data.files)
    assert sum(found["files"] for found in plan.skipped.values()) == data.skipped + texts

    tables = open_run(run)
    found = tables.query(
        "SELECT source, row, key, canonical, url AS url FROM samples JOIN texts USING (caption_id)"
    )
    assert (
        Counter(
            (os.path.realpath(row["source"]), row["row"], row["key"], row["canonical"], row["url"])
            for row in found.to_pylist()
        )
        == expected
    )
    rejects = tables.query("SELECT count(*) AS n FROM rejects WHERE stage = 'plan'")
    assert rejects["n"][0].as_py() == rows - expected.total()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 9))
def test_copies_are_what_an_independent_filter_makes(seed: int, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", seed)
    run = _run(data, tmp_path / "run")
    curate(run, open_run(run), DROP, str(tmp_path / "list"), force=True)
    found = apply(run, str(tmp_path / "list"), str(tmp_path / "copies"))
    gone = {id(file): _loud(file) for file in data.files}
    assert found.removed == sum(map(len, gone.values()))
    plan = Run.existing(run).plan()
    assert plan is not None
    names = {os.path.realpath(item["url"]): item["url"] for item in plan.inputs}
    for file in data.files:
        write(file, tmp_path / f"expected{file.path.suffix}", gone[id(file)])
        name = Path(names[os.path.realpath(file.path)]).relative_to(data.folder)
        _check_same(tmp_path / "copies" / name, tmp_path / f"expected{file.path.suffix}", file)


def _loud(file: File) -> set[int]:
    return {n for n, row in enumerate(file.rows) if row.caption and LOUD in row.caption}


def _check_same(copy: Path, expected: Path, file: File) -> None:
    if file.table is not None:
        found, wanted = (pq.read_table(path, partitioning=None) for path in (copy, expected))
        assert found.schema == wanted.schema
        assert found.to_pylist() == wanted.to_pylist()
    else:
        assert _unpacked(copy) == _unpacked(expected)


def _unpacked(path: Path) -> bytes:
    packed = {".zst": "zstd", ".gz": "gzip", ".tgz": "gzip"}.get(path.suffix)
    if packed is None:
        return path.read_bytes()
    with pa.CompressedInputStream(str(path), packed) as file:
        return file.read()
