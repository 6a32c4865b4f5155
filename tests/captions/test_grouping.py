from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.grouping import count_distinct, distinct_captions


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
    rows = pa.Table.from_batches(distinct_captions(files, tmp_path, None, 10)).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("a", "A", "a", True),
        ("b", "b X", "b x", False),
    ]
    assert count_distinct(files, tmp_path) == 2


def test_limit_keeps_the_smallest_ids(tmp_path: Path) -> None:
    file = _stage(tmp_path, "1", [(f"{i:03}", f"c{i}", f"c{i}", False) for i in range(99, -1, -1)])
    rows = pa.Table.from_batches(distinct_captions([file], tmp_path, 3, 2))
    assert rows["caption_id"].to_pylist() == ["000", "001", "002"]
