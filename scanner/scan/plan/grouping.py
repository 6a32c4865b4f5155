"""Group the staged spellings of a range of caption ids into distinct captions."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate, pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.captions.grouping import group
from scanner.cluster.work import Result
from scanner.run import Output, Plan
from scanner.run.schema import CAPTION_ID, CAPTIONS
from scanner.scan.plan.cuts import IDS, IdRange, id_of, read_cuts
from scanner.scan.plan.image_pairs import REPEATS
from scanner.scan.plan.spellings import SPELLINGS
from scanner.scan.plan.tiers import TIER, CaptionsOutput
from scanner.storage import Store

# Captions of a captions file: readers open every file, so that a billion captions in small slices
# must not make more files than in large ones. Slices of a file: each takes about 700 bytes of its
# footer, which an actor reads once.
PART_ROWS, PART_SLICES = 1 << 20, 2048
# Very long captions make smaller slices and smaller parts.
GROUP_BYTES, PART_BYTES = 64 << 20, 256 << 20
READERS = 8
_IDS = pa.schema([CAPTION_ID])


def id_ranges(count: int) -> list[IdRange]:
    """Split all ids into ``count`` ranges of equal size; ids are hashes, so rows are even too."""
    bounds = [IDS * number // count for number in range(count + 1)]
    return [
        IdRange(f"{number:06d}", id_of(low), id_of(high - 1))
        for number, (low, high) in enumerate(pairwise(bounds))
    ]


def read_captions(store: Store, item: IdRange) -> Iterator[pa.RecordBatch]:
    """Yield the ids in a range that earlier plans have, from the row groups that overlap it.

    Files are read in parallel, since a store has high latency.
    """

    def read(name: str) -> pa.Table:
        # A cache would fetch far more than the few row groups, which are read in one request.
        with store.open(name, cache_type="none") as file:
            parquet = pq.ParquetFile(file, pre_buffer=True)
            table = parquet.read_row_groups(_groups(parquet.metadata, item), columns=_IDS.names)
        ids = table["caption_id"]
        inside = pc.and_(pc.greater_equal(ids, item.first), pc.less_equal(ids, item.last))
        return table.filter(inside)

    with ThreadPoolExecutor(READERS) as threads:
        for table in threads.map(read, item.earlier):
            yield from table.to_batches()


def _groups(metadata: pq.FileMetaData, within: IdRange) -> list[int]:
    groups = []
    for number in range(metadata.num_row_groups):
        first, last = id_bounds(metadata, number)
        if first <= within.last and last >= within.first:
            groups.append(number)
    return groups


def id_bounds(metadata: pq.FileMetaData, group: int) -> tuple[str, str]:
    """Return the smallest and the largest id in a row group; caption_id is the first column."""
    statistics = metadata.row_group(group).column(0).statistics
    return statistics.min, statistics.max


class GroupWork:
    """Makes ``captions``, sorted by tier and id, one row per distinct caption, from the spellings
    in a range.

    Captions of earlier plans are omitted, and training captions with an id above ``cutoff``.
    ``row_group``: rows per row group of the parts, except the last of an item, or of a tier;
    ``by_samples``: whether there are tiers, by number of samples; ``by_images``: also by how often
    images of captions are repeated.
    """

    def __init__(
        self,
        store: Store,
        cutoff: str | None,
        row_group: int,
        by_samples: bool = False,
        by_images: bool = False,
    ) -> None:
        self.store = store
        self.cutoff = cutoff
        self.row_group = row_group
        self.by_samples = by_samples
        self.by_images = by_images

    def prepare(self, item: IdRange) -> IdRange:
        return item

    def compute(self, prepared: IdRange) -> IdRange:
        return prepared

    def finish(self, computed: IdRange) -> Result:
        return Result(self._outputs(computed))

    def _outputs(self, item: IdRange) -> Iterator[Output]:
        staged = (batch for table in read_cuts(self.store, item) for batch in table.to_batches())
        earlier = read_captions(self.store, item)
        batches = group(
            pa.RecordBatchReader.from_batches(SPELLINGS, staged),
            pa.RecordBatchReader.from_batches(_IDS, _with_schema(_IDS, earlier)),
            self.cutoff,
            self.row_group,
            self.by_samples,
            self._repeats(item) if self.by_images else None,
        )
        for table in rechunk(batches, part_rows(self.row_group)):
            rows = len(table) * GROUP_BYTES // max(1, table.nbytes)
            yield CaptionsOutput("captions", table, max(1, min(self.row_group, rows)))

    def _repeats(self, item: IdRange) -> pa.RecordBatchReader:
        tables = read_cuts(self.store, replace(item, staged=item.repeats), REPEATS)
        batches = (batch for table in tables for batch in table.to_batches())
        return pa.RecordBatchReader.from_batches(REPEATS, batches)


def part_rows(row_group: int) -> int:
    """Return the captions of a captions file, in whole slices of ``row_group`` captions."""
    return row_group * max(1, min(PART_SLICES, PART_ROWS // row_group))


def find_cutoff(store: Store, items: Iterable[IdRange], limit: int) -> tuple[str | None, int]:
    """Return the ``limit``-th smallest id of the training captions that no earlier plan has.

    If the ranges, which are read in order until it is found, have fewer: None, and how many they
    lack.
    """
    left = limit
    for item in items:
        found = [
            table.filter(pc.invert(table["is_reference"]))["caption_id"]
            for table in read_cuts(store, item)
        ]
        if not found:
            continue
        ids = pa.chunked_array([chunk for one in found for chunk in one.chunks], pa.string())
        ids = ids.unique()
        known = [batch["caption_id"] for batch in read_captions(store, item)]
        if known:
            ids = ids.filter(pc.invert(pc.is_in(ids, pa.chunked_array(known))))
        if len(ids) >= left:
            return ids.sort()[left - 1].as_py(), 0
        left -= len(ids)
    return None, left


class EarlierCaptions:
    """The captions files of earlier plans, by the ids that they hold."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        bounds: dict[str, tuple[str, str]] = {}
        for item in (item for plan in plans for item in plan.slices):
            first, last = bounds.get(item.file, (item.first, item.last))
            bounds[item.file] = min(first, item.first), max(last, item.last)
        self._files = sorted((first, last, name) for name, (first, last) in bounds.items())
        self._firsts = [first for first, _, _ in self._files]
        self._highest = list(accumulate((last for _, last, _ in self._files), max))

    def locate(self, item: IdRange) -> IdRange:
        """Return the range of ids with the files that may hold some of them."""
        start = bisect_left(self._highest, item.first)
        files = self._files[start : bisect_right(self._firsts, item.last)]
        return replace(item, earlier=tuple(name for _, last, name in files if last >= item.first))


def _with_schema(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return the batches with this schema: the metadata of their files may differ."""
    return (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches)


def rechunk(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield captions and their tiers in tables of ``rows`` rows; fewer in the last, and at
    PART_BYTES."""
    planned = CAPTIONS.append(TIER)
    held: list[pa.Table] = []
    count = size = 0
    for batch in batches:
        table = pa.table(batch).cast(planned)
        while count + len(table) >= rows:
            missing = rows - count
            yield pa.concat_tables([*held, table.slice(0, missing)])
            held, count, size, table = [], 0, 0, table.slice(missing)
        if len(table):
            held.append(table)
            count += len(table)
            size += table.nbytes
        if size >= PART_BYTES:
            yield pa.concat_tables(held)
            held, count, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)
