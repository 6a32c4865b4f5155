from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.grouping import DistinctCaptions


def _stage(folder: Path, name: str, rows: list[tuple]) -> Path:
    columns = ("caption_id", "caption", "canonical", "is_reference")
    path = folder / name
    pq.write_table(pa.Table.from_pylist([dict(zip(columns, r, strict=True)) for r in rows]), path)
    return path


def test_the_commonest_spelling_wins_then_the_smallest_and_reference_needs_all(
    tmp_path: Path,
) -> None:
    files = [
        _stage(
            tmp_path,
            "1",
            [("b", "B x", "b x", False), ("a", "A", "a", True), ("b", "b X", "b x", False)],
        ),
        _stage(tmp_path, "2", [("a", "a", "a", True), ("b", "b X", "b x", True)]),
    ]
    found = DistinctCaptions(files, tmp_path)
    rows = pa.Table.from_batches(found.batches(10)).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("a", "A", "a", True),
        ("b", "b X", "b x", False),
    ]
    assert found.count() == 2


def test_limit_keeps_the_smallest_ids_and_every_reference_caption(tmp_path: Path) -> None:
    rows = [(f"{i:03}", f"c{i}", f"c{i}", i > 97) for i in range(99, -1, -1)]
    found = DistinctCaptions([_stage(tmp_path, "1", rows)], tmp_path, limit=3)
    kept = pa.Table.from_batches(found.batches(2))
    assert kept["caption_id"].to_pylist() == ["000", "001", "002", "098", "099"]
    assert found.count() == 5
