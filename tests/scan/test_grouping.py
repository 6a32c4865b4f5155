from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.run import Plan, Slice
from scanner.scan.plan.cuts import IdRange, id_of
from scanner.scan.plan.grouping import EarlierCaptions, id_ranges, read_captions
from scanner.storage import Store


@pytest.mark.parametrize("count", [1, 3, 256])
def test_ranges_hold_every_id_once(count: int) -> None:
    ranges = id_ranges(count)
    assert (ranges[0].first, ranges[-1].last) == ("0" * 32, "f" * 32)
    for one, next_one in pairwise(ranges):
        assert int(next_one.first, 16) == int(one.last, 16) + 1
    assert [item.id for item in ranges] == sorted({item.id for item in ranges})


def test_earlier_captions_are_read_from_few_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in range(2):
        ids = [id_of(number) for number in range(part, 100, 2)]
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
    within = IdRange("0", id_of(30), id_of(43), earlier=("0", "1"))
    batches = read_captions(Store(str(tmp_path)), within)
    ids = [int(text, 16) for batch in batches for text in batch["caption_id"].to_pylist()]
    assert ids == [*range(30, 43, 2), *range(31, 44, 2)]
    assert taken == [[3, 4], [3, 4]]


def _earlier(*files: tuple[str, int, int]) -> Plan:
    """Return a plan whose files hold the ids from a number to another in two slices."""
    slices = [
        Slice("0", name, id_of(low), id_of(high), 1)
        for name, first, last in files
        for low, high in ((first, first), (first + 1, last))
    ]
    names = tuple(name for name, _, _ in files)
    return Plan((), (), names, (), tuple(slices), {}, {})


def test_only_files_with_ids_of_a_range_are_read_for_it() -> None:
    disjoint = _earlier(*((f"a{number}", number * 100, number * 100 + 98) for number in range(9)))
    wide = _earlier(("b", 0, 250), ("c", 800, 900))
    earlier = EarlierCaptions([disjoint, wide])
    for first, last, files in (
        (0, 5, "a0 b"),
        (98, 100, "a0 a1 b"),
        (99, 99, "b"),
        (250, 310, "a2 a3 b"),
        (251, 299, "a2"),
        (850, 10**6, "a8 c"),
        (1000, 1001, ""),
    ):
        found = earlier.locate(IdRange("", id_of(first), id_of(last))).earlier
        assert sorted(found) == files.split(), (first, last)
