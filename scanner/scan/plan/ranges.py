"""Ranges of caption ids, and reading one of tables that are sorted by caption_id."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.captions.identity import DIGITS
from scanner.storage import Store

IDS = 16**DIGITS
READERS = 8


@dataclass(frozen=True)
class IdRange:
    """The caption ids from ``first`` to ``last``, both included."""

    id: str
    first: str
    last: str


def id_ranges(count: int) -> list[IdRange]:
    """All ids in ``count`` ranges of one size; ids are hashes, so about as many rows in each."""
    bounds = [IDS * number // count for number in range(count + 1)]
    return [
        IdRange(f"{number:06d}", f"{low:0{DIGITS}x}", f"{high - 1:0{DIGITS}x}")
        for number, (low, high) in enumerate(pairwise(bounds))
    ]


def read_range(
    store: Store, names: Sequence[str], columns: list[str], within: IdRange
) -> Iterator[pa.RecordBatch]:
    """The rows with an id in the range; of a file only the row groups that can hold some.

    Many files are read at a time, since each has little to give and a store takes long to answer.
    """

    def read(name: str) -> pa.Table:
        # A cache would fetch far more than the few row groups, which are read at one go.
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
    found = []
    for number in range(metadata.num_row_groups):
        first, last = id_bounds(metadata, number)
        if first <= within.last and last >= within.first:
            found.append(number)
    return found


def id_bounds(metadata: pq.FileMetaData, group: int) -> tuple[str, str]:
    """The smallest and the largest id in a row group; caption_id is the first column."""
    statistics = metadata.row_group(group).column(0).statistics
    return statistics.min, statistics.max
