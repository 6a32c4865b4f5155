"""Group the staged spellings of a range of caption ids into distinct captions."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.captions.grouping import group
from scanner.captions.identity import DIGITS
from scanner.cluster.work import Result
from scanner.run import Output
from scanner.run.schema import CAPTION_ID, CAPTIONS
from scanner.scan.plan.chunk import SPELLINGS
from scanner.storage import Store

ROW_GROUPS_PER_PART = 64
# Very long captions make smaller slices and smaller parts.
GROUP_BYTES, PART_BYTES = 64 << 20, 256 << 20
IDS = 16**DIGITS
READERS = 8
_IDS = pa.schema([CAPTION_ID])


@dataclass(frozen=True)
class IdRange:
    """The caption ids from ``first`` to ``last``, inclusive."""

    id: str
    first: str
    last: str


def id_ranges(count: int) -> list[IdRange]:
    """Split all ids into ``count`` ranges of equal size; ids are hashes, so rows are even too."""
    bounds = [IDS * number // count for number in range(count + 1)]
    return [
        IdRange(f"{number:06d}", f"{low:0{DIGITS}x}", f"{high - 1:0{DIGITS}x}")
        for number, (low, high) in enumerate(pairwise(bounds))
    ]


def read_range(
    store: Store, names: Sequence[str], columns: list[str], within: IdRange
) -> Iterator[pa.RecordBatch]:
    """Yield the rows with an id in the range, reading only the row groups that overlap it.

    Files are read in parallel: each has few rows, and a store has high latency.
    """

    def read(name: str) -> pa.Table:
        # A cache would fetch far more than the few row groups, which are read in one request.
        with store.open(name, cache_type="none") as file:
            parquet = pq.ParquetFile(file, pre_buffer=True)
            table = parquet.read_row_groups(_groups(parquet.metadata, within), columns=columns)
        ids = table["caption_id"]
        inside = pc.and_(pc.greater_equal(ids, within.first), pc.less_equal(ids, within.last))
        return table.filter(inside)

    with ThreadPoolExecutor(READERS) as threads:
        for table in threads.map(read, names):
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
    """Makes ``captions``, sorted, one row per distinct caption, from the spellings in a range.

    ``staged``: parts with spellings; ``earlier``: parts with the captions of earlier plans, which
    are omitted; both sorted by caption_id. Training captions with an id above ``cutoff`` are
    omitted too. ``row_group``: rows per row group of the parts, except the last of an item.
    """

    def __init__(
        self,
        store: Store,
        staged: Sequence[str],
        earlier: Sequence[str],
        cutoff: str | None,
        row_group: int,
    ) -> None:
        self.store = store
        self.staged = staged
        self.earlier = earlier
        self.cutoff = cutoff
        self.row_group = row_group

    def prepare(self, item: IdRange) -> IdRange:
        return item

    def compute(self, prepared: IdRange) -> IdRange:
        return prepared

    def finish(self, computed: IdRange) -> Result:
        return Result(self._outputs(computed))

    def _outputs(self, item: IdRange) -> Iterator[Output]:
        staged = read_range(self.store, self.staged, SPELLINGS.names, item)
        earlier = read_range(self.store, self.earlier, _IDS.names, item)
        batches = group(
            pa.RecordBatchReader.from_batches(SPELLINGS, _with_schema(SPELLINGS, staged)),
            pa.RecordBatchReader.from_batches(_IDS, _with_schema(_IDS, earlier)),
            self.cutoff,
            self.row_group,
        )
        for table in rechunk(batches, self.row_group * ROW_GROUPS_PER_PART):
            rows = len(table) * GROUP_BYTES // max(1, table.nbytes)
            yield Output("captions", table, max(1, min(self.row_group, rows)))


def find_cutoff(
    store: Store,
    staged: Sequence[str],
    earlier: Sequence[str],
    ranges: Iterable[IdRange],
    limit: int,
) -> str | None:
    """Return the ``limit``-th smallest id of the training captions that no earlier plan has.

    None if there are fewer. Reads the ranges in order until it is found.
    """
    left = limit
    for item in ranges:
        tables = [
            pa.Table.from_batches([batch])
            for batch in read_range(store, staged, ["caption_id", "is_reference"], item)
        ]
        if not tables:
            continue
        rows = pa.concat_tables(tables)
        ids = rows.filter(pc.invert(rows["is_reference"]))["caption_id"].unique()
        known = [batch["caption_id"] for batch in read_range(store, earlier, _IDS.names, item)]
        if known:
            ids = ids.filter(pc.invert(pc.is_in(ids, pa.chunked_array(known))))
        if len(ids) >= left:
            return ids.sort()[left - 1].as_py()
        left -= len(ids)
    return None


def _with_schema(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return the batches with this schema: the metadata of their files may differ."""
    return (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches)


def rechunk(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield the captions in tables of ``rows`` rows; fewer in the last, and at PART_BYTES."""
    held: list[pa.Table] = []
    count = 0
    for batch in batches:
        table = pa.table(batch).cast(CAPTIONS)
        while count + len(table) >= rows:
            missing = rows - count
            yield pa.concat_tables([*held, table.slice(0, missing)])
            held, count, table = [], 0, table.slice(missing)
        if len(table):
            held.append(table)
            count += len(table)
        if sum(one.nbytes for one in held) >= PART_BYTES:
            yield pa.concat_tables(held)
            held, count = [], 0
    if held:
        yield pa.concat_tables(held)
