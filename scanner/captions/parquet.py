"""Read parquet rows as Arrow arrays in batches of bounded size."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.batch import Batch, Contents, Extent, check_columns
from scanner.captions.cached_ranges import CachedRanges
from scanner.captions.limits import FOOTER_BYTES, LISTS_BYTES, PAGES_BYTES, PARQUET_BATCH_BYTES
from scanner.captions.long_values import within_limits
from scanner.captions.parquet_pages import OverLimit, Pages, pages_of, start_of
from scanner.storage import open_input

PARQUET_ROWS = 1 << 15
# Column chunks up to this size are read at once; larger ones in pieces.
WHOLE_CHUNKS = 64 << 20
PIECE_BYTES = 4 << 20
FIXED_BYTES = 16


@dataclass(frozen=True)
class SkippedRows:
    """Rows of a row group that exceeds a limit, and the limit."""

    rows: int
    reason: str


def _open(url: str) -> IO[bytes]:
    # Each column of a row group is one read; a cache would also fetch the data after it.
    return open_input(url, cache_type="none")


def open_parquet(file: IO[bytes], **options: Any) -> pq.ParquetFile:
    """Open a parquet file. Raises ValueError if its footer exceeds the limit."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    stated = int.from_bytes(file.read(8)[:4], "little")
    if FOOTER_BYTES < stated <= size:
        raise ValueError(f"a footer of {stated} bytes, more than {FOOTER_BYTES}")
    file.seek(0)
    return pq.ParquetFile(file, **options)


def parquet_contents(url: str) -> Contents:
    with _open(url) as file:
        if not file.seek(0, 2):
            return Contents([])
        parquet = open_parquet(file)
        groups = range(parquet.metadata.num_row_groups)
        rows = tuple(parquet.metadata.row_group(group).num_rows for group in groups)
        return Contents(list(parquet.schema_arrow.names), rows)


def parquet_batches(
    url: str, columns: list[str], extent: Extent | None, batch_rows: int | None = None
) -> Iterator[Batch]:
    most_rows = batch_rows or PARQUET_ROWS
    with _open(url) as file:
        if not file.seek(0, 2):
            return
        # As nanoseconds, INT96 timestamps after the year 2262 would overflow.
        parquet = open_parquet(file, coerce_int96_timestamp_unit="us")
        check_columns(parquet.schema_arrow.names, columns)
        groups = range(parquet.metadata.num_row_groups)
        start = 0
        if extent:
            groups, start = groups[extent.first : extent.end], extent.row
        for batch in bounded_batches(file, parquet, groups, columns, most_rows):
            rows = range(
                start, start + (batch.rows if isinstance(batch, SkippedRows) else len(batch))
            )
            start = rows.stop
            if isinstance(batch, SkippedRows):
                yield from _rejected(rows, batch.reason, columns, most_rows)
                continue
            # A file can repeat a column name; the first one counts.
            places = {name: batch.schema.get_all_field_indices(name)[0] for name in columns}
            values = {name: batch.column(place) for name, place in places.items()}
            yield from within_limits(values, rows)


def _rejected(rows: range, reason: str, columns: Sequence[str], most_rows: int) -> Iterator[Batch]:
    for first in range(rows.start, rows.stop, most_rows):
        part = range(first, min(first + most_rows, rows.stop))
        yield Batch(
            [], {name: [] for name in columns}, [(row, f"bad row: {reason}") for row in part]
        )


def bounded_batches(
    file: IO[bytes],
    parquet: pq.ParquetFile,
    groups: Sequence[int],
    columns: Sequence[str],
    most_rows: int = PARQUET_ROWS,
) -> Iterator[pa.RecordBatch | SkippedRows]:
    """Yield columns of row groups in batches of at most about PARQUET_BATCH_BYTES, or one row.

    Dictionary columns with long repeated values stay dictionary-encoded. A row group that exceeds a
    limit is skipped.
    """
    cached = CachedRanges(file)

    @cache
    def opened(dictionaries: frozenset[str], in_pieces: bool) -> pq.ParquetFile:
        return pq.ParquetFile(
            cached,
            metadata=parquet.metadata,
            read_dictionary=sorted(dictionaries),
            buffer_size=PIECE_BYTES if in_pieces else 0,
            coerce_int96_timestamp_unit="us",
        )

    plans = (_read_plan(cached, parquet, group, columns, most_rows) for group in groups)
    for plan in _merged(plans):
        if plan.problem:
            yield SkippedRows(plan.total, plan.problem)
            continue
        reader = opened(plan.dictionaries, plan.in_pieces)
        yield from reader.iter_batches(plan.rows, row_groups=plan.groups, columns=list(columns))
        cached.evict(plan.starts)


@dataclass(frozen=True)
class _ReadPlan:
    """How to read row groups: rows per batch, columns kept as dictionaries, chunk pieces.

    ``total``: rows; ``largest``: bytes of pages in memory at a time; ``stored``, ``starts``: bytes
    and offsets of the column chunks; ``problem``: the exceeded limit.
    """

    groups: list[int]
    rows: int
    total: int
    largest: int
    stored: int
    starts: list[int]
    dictionaries: frozenset[str]
    problem: str = ""

    @property
    def in_pieces(self) -> bool:
        return self.stored > WHOLE_CHUNKS


def _merged(plans: Iterable[_ReadPlan]) -> Iterator[_ReadPlan]:
    """Merge small row groups into batches; yield those before a damaged one first."""
    pending: _ReadPlan | None = None
    try:
        for plan in plans:
            both = pending and _both(pending, plan)
            if pending and not both:
                yield pending
            pending = both or plan
    except Exception:
        if pending:
            yield pending
        raise
    if pending:
        yield pending


def _both(first: _ReadPlan, second: _ReadPlan) -> _ReadPlan | None:
    both = _ReadPlan(
        first.groups + second.groups,
        min(first.rows, second.rows),
        first.total + second.total,
        first.largest + second.largest,
        first.stored + second.stored,
        first.starts + second.starts,
        first.dictionaries | second.dictionaries,
    )
    if first.problem or second.problem:
        return None
    fits = both.total <= both.rows and both.largest <= PAGES_BYTES
    return both if fits and not both.in_pieces and not both.dictionaries else None


def _read_plan(
    cached: CachedRanges, parquet: pq.ParquetFile, group: int, columns: Sequence[str], rows: int
) -> _ReadPlan:
    """Plan a row group from its page headers; ``rows``: the maximum per batch."""
    total = parquet.metadata.row_group(group).num_rows
    try:
        return _plan_within_limits(cached, parquet, group, columns, rows)
    except OverLimit as error:
        return _ReadPlan([group], rows, total, 0, 0, [], frozenset(), str(error))


def _plan_within_limits(
    cached: CachedRanges, parquet: pq.ParquetFile, group: int, columns: Sequence[str], rows: int
) -> _ReadPlan:
    leaves = [parquet.schema.column(at) for at in range(parquet.metadata.num_columns)]
    wanted = [
        (leaf, parquet.metadata.row_group(group).column(at))
        for at, leaf in enumerate(leaves)
        if leaf.path in columns or leaf.path.startswith(tuple(f"{name}." for name in columns))
    ]
    bytes_stored = sum(chunk.total_compressed_size for _, chunk in wanted)
    stored = {field.name for field in parquet.schema_arrow if pa.types.is_dictionary(field.type)}
    dictionaries: set[str] = set()
    largest = 0
    for leaf, chunk in wanted:
        if bytes_stored <= WHOLE_CHUNKS:
            cached.prefetch(start_of(chunk), chunk.total_compressed_size)
        fixed = leaf.length if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else FIXED_BYTES
        is_text = leaf.physical_type == "BYTE_ARRAY"
        pages = pages_of(cached, chunk, 0 if is_text else fixed)
        largest += pages.largest
        # Arrow adds values outside the dictionary to it until the row group ends.
        if leaf.path in stored and not pages.all_refer and pages.bytes > LISTS_BYTES:
            raise OverLimit(f"column {leaf.path}: a dictionary over {LISTS_BYTES} bytes")
        is_flat = leaf.path == leaf.name and not leaf.max_repetition_level
        if is_flat and is_text and pages.all_refer and pages.longest * rows > PARQUET_BATCH_BYTES:
            dictionaries.add(leaf.path)
        elif leaf.path not in stored or not pages.all_refer:
            rows = min(rows, _rows_within(pages, leaf, rows))
    if largest > PAGES_BYTES:
        raise OverLimit(f"pages of {largest} bytes at a time, more than {PAGES_BYTES}")
    total = parquet.metadata.row_group(group).num_rows
    starts = [start_of(chunk) for _, chunk in wanted]
    return _ReadPlan([group], rows, total, largest, bytes_stored, starts, frozenset(dictionaries))


def _rows_within(pages: Pages, leaf: Any, most_rows: int) -> int:
    """Return a number of rows of a column that certainly fits a batch."""
    if leaf.max_repetition_level:
        # One row may hold all values of its row group.
        total = pages.bytes + pages.values * max(pages.longest, 16)
        if total > LISTS_BYTES:
            raise OverLimit(
                f"column {leaf.path}: lists of up to {total} bytes in a row group, more than "
                f"{LISTS_BYTES}"
            )
        return most_rows
    largest = pages.largest if pages.shares else 0
    size = max(pages.densest, pages.longest, largest, 1)
    return max(1, int(PARQUET_BATCH_BYTES / size))
