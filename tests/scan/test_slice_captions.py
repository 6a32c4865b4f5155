"""Captions files hold about as many captions whatever the size of their slices."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.run import Slice
from scanner.run.schema import CAPTIONS, write_part
from scanner.scan.plan.cuts import id_of
from scanner.scan.plan.grouping import PART_ROWS, PART_SLICES, part_rows, rechunk
from scanner.scan.plan.make_plan import list_slices
from scanner.scan.plan.tiers import TIER
from scanner.scan.slice_captions import KEPT_FOOTERS, SliceReader
from scanner.storage import Store


@pytest.mark.parametrize("slice_captions", [512, 4096, 1 << 16])
def test_files_have_as_many_captions_in_small_slices_as_large(slice_captions: int) -> None:
    assert part_rows(slice_captions) == PART_ROWS


@pytest.mark.parametrize(("slice_captions", "rows"), [(1, PART_SLICES), (700, 700 * 1497)])
def test_files_have_whole_slices_and_not_too_many(slice_captions: int, rows: int) -> None:
    assert part_rows(slice_captions) == rows <= PART_ROWS


def test_a_slice_is_never_split_between_files() -> None:
    assert part_rows(PART_ROWS + 1) == PART_ROWS + 1


def _captions(count: int, text: str = "") -> pa.Table:
    ids, texts = map(list, zip(*((id_of(n), f"{text}{n}") for n in range(count)), strict=True))
    return pa.table([ids, texts, texts, [False] * count], schema=CAPTIONS)


def _planned(count: int, text: str = "") -> list[pa.RecordBatch]:
    tiers = pa.array([0] * count, TIER.type)
    return _captions(count, text).append_column(TIER, tiers).to_batches(max_chunksize=1)


@pytest.mark.slow
def test_thousands_of_slices_are_held_for_one_file() -> None:
    sizes = [len(table) for table in rechunk(_planned(3000), 2048)]
    assert sizes == [2048, 952]


def test_long_captions_make_smaller_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanner.scan.plan.grouping.PART_BYTES", 100_000)
    sizes = [len(table) for table in rechunk(_planned(100, "x" * 2000), 2048)]
    assert sizes == [25] * 4


def test_a_slice_may_be_any_row_group(tmp_path: Path) -> None:
    """Whatever the order of the rows, such as that of a plan by number of samples."""
    table = pa.table({"caption_id": ["b", "a", "d", "c"], "caption": ["B", "A", "D", "C"]})
    pq.write_table(table, tmp_path / "captions.parquet", row_group_size=2)
    reader = SliceReader(Store(str(tmp_path)))
    slices = [Slice(str(n), "captions.parquet", "a", "d", 2, n) for n in range(2)]
    assert [reader.read(one)["caption"].to_pylist() for one in slices] == [["B", "A"], ["D", "C"]]
    with pytest.raises(RuntimeError, match="4 captions, but 2 are planned"):
        reader.read(Slice("0", "captions.parquet", "a", "d", 2))


@pytest.mark.slow
def test_a_footer_is_read_once_for_all_slices_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    names = [write_part(store, "captions", str(n), _captions(600), 2).path for n in range(4)]
    footers: Counter[str] = Counter()
    open_parquet = pq.ParquetFile.__init__

    def counted(self: pq.ParquetFile, source: Any, metadata: Any = None, **options: Any) -> None:
        footers["read" if metadata is None else "kept"] += 1
        open_parquet(self, source, metadata=metadata, **options)

    reader, (slices, _) = SliceReader(store), list_slices(store, names, ())
    monkeypatch.setattr(pq.ParquetFile, "__init__", counted)
    texts = [text for item in slices for text in reader.read(item)["caption"].to_pylist()]
    assert texts == [str(number) for _ in names for number in range(600)]
    assert footers == {"read": 4, "kept": 4 * 299}
    assert len(reader._footers) == KEPT_FOOTERS
