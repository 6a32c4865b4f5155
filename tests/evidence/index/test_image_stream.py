"""Images are streamed from all layouts, each file read once, and failures have a reason."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.evidence.index.image_stream import (
    ELSEWHERE,
    NO_IMAGE,
    NOT_IN_TAR,
    ImageStream,
)
from scanner.storage import Roots
from tests.evidence.index.pictures import encoded, write_shard, write_tar


def samples(source: Path, rows: list[int], keys: list[str | None] | None = None) -> pa.Table:
    columns = {
        "source": [str(source)] * len(rows),
        "row": rows,
        "key": keys or [None] * len(rows),
    }
    return pa.table(columns)


def streamed(table: pa.Table, root: Path, column: str | None = None) -> dict[int, bytes | str]:
    found = list(ImageStream(column, Roots.of([str(root)])).images(table))
    assert len({number for number, _ in found}) == len(found) == len(table)
    return dict(found)


@pytest.mark.parametrize("group", [3, 7, 100])
def test_only_the_wanted_rows_of_a_column_are_returned(group: int, tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", [*range(18), None], row_group_size=group)
    rows = [0, 1, 8, 13, 17, 18]
    found = streamed(samples(path, rows), tmp_path)
    assert found == {n: encoded(row) for n, row in enumerate(rows[:-1])} | {5: NO_IMAGE}


def test_rows_beyond_the_end_have_no_image(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", [1, 2])
    assert streamed(samples(path, [1, 5]), tmp_path) == {0: encoded(2), 1: NOT_IN_TAR}


def test_images_come_from_a_tar_by_row(tmp_path: Path) -> None:
    members = {"x/a.txt": b"one", "x/a.png": encoded(1), "x/b.txt": b"two", "x/c.jpg": encoded(3)}
    path = write_tar(tmp_path / "a.tar", members)
    found = streamed(samples(path, [0, 1, 2]), tmp_path)
    assert found == {0: encoded(1), 1: NOT_IN_TAR, 2: encoded(3)}


def test_images_come_from_the_tar_next_to_a_table_by_key(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["b", "a"], "caption": ["x", "y"]}), tmp_path / "a.parquet")
    write_tar(tmp_path / "a.tar", {"a.jpg": encoded(1), "b.jpg": encoded(2)})
    table = samples(tmp_path / "a.parquet", [0, 1], ["b", "a"])
    assert streamed(table, tmp_path) == {0: encoded(2), 1: encoded(1)}


def test_files_without_images_and_outside_the_roots_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    inside, outside = tmp_path / "in" / "a.csv", write_shard(tmp_path / "b.parquet", [1])
    table = pa.concat_tables([samples(inside, [0, 1]), samples(outside, [0])])
    found = streamed(table, tmp_path / "in")
    assert ELSEWHERE in str(found[0])
    assert found[0] == found[1]
    assert "b.parquet is refused" in str(found[2])


def test_a_damaged_file_costs_only_its_own_images(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.parquet", write_shard(tmp_path / "good.parquet", [7])
    bad.write_bytes(b"PAR1" + bytes(100))
    found = streamed(pa.concat_tables([samples(bad, [0]), samples(good, [0])]), tmp_path)
    assert str(found[0]).startswith("unreadable file: ")
    assert found[1] == encoded(7)
