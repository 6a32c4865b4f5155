from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.scan.plan.grouping import IdRange, id_ranges, read_range
from scanner.storage import Store


@pytest.mark.parametrize("count", [1, 3, 256])
def test_ranges_hold_every_id_once(count: int) -> None:
    ranges = id_ranges(count)
    assert (ranges[0].first, ranges[-1].last) == ("0" * 32, "f" * 32)
    for one, next_one in pairwise(ranges):
        assert int(next_one.first, 16) == int(one.last, 16) + 1
    assert [item.id for item in ranges] == sorted({item.id for item in ranges})


def test_a_range_is_read_from_few_row_groups_of_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in range(2):
        ids = [f"{number:032x}" for number in range(part, 100, 2)]
        pq.write_table(
            pa.table({"caption_id": ids, "n": range(50)}), tmp_path / str(part), row_group_size=5
        )
    taken = []
    plain = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_groups",
        lambda file, groups, **options: taken.append(groups) or plain(file, groups, **options),
    )
    within = IdRange("0", f"{30:032x}", f"{43:032x}")
    batches = read_range(Store(str(tmp_path)), ["0", "1"], ["caption_id"], within)
    ids = [int(text, 16) for batch in batches for text in batch["caption_id"].to_pylist()]
    assert ids == [*range(30, 43, 2), *range(31, 44, 2)]
    assert taken == [[3, 4], [3, 4]]
