"""Copy a Parquet file without some rows, with the same schema, metadata and compression."""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Large enough to store repeated images once per row group, if the source file does so.
DICTIONARY_BYTES = 1 << 26
GROUP_BYTES = 1 << 29
BATCH_BYTES = 1 << 26
# Arrow's errors for a batch with more than 2 GiB in a nested column.
_TOO_LARGE = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowCapacityError)


def clean_parquet(
    source: Path,
    target: Path,
    removed: Set[int],
    group_bytes: int = GROUP_BYTES,
    batch_bytes: int = BATCH_BYTES,
) -> None:
    """Write ``target`` row group by row group, omitting row groups that lose all rows.

    A row group over ``group_bytes`` is read in batches of about ``batch_bytes`` and split, because
    Arrow cannot hold more than 2 GiB of a nested column in one chunk.
    """
    unit = _int96_unit(source)
    # pre_buffer would hold a large row group in memory.
    parquet = pq.ParquetFile(
        source, memory_map=True, pre_buffer=False, coerce_int96_timestamp_unit=unit
    )
    removed_rows = np.array(sorted(removed), np.int64)
    first = 0
    with pq.ParquetWriter(target, parquet.schema_arrow, **_options(parquet.metadata)) as writer:
        for group in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            keep = np.ones(rows, bool)
            in_group = slice(*np.searchsorted(removed_rows, [first, first + rows]))
            keep[removed_rows[in_group] - first] = False
            first += rows
            if keep.any():
                for table in _kept_rows(parquet, group, keep, group_bytes, batch_bytes):
                    writer.write_table(table, row_group_size=max(1, len(table)))


def _kept_rows(
    parquet: pq.ParquetFile, group: int, keep: np.ndarray, group_bytes: int, batch_bytes: int
) -> Iterator[pa.Table]:
    """Yield the kept rows of a row group, in tables of at most about ``group_bytes``."""
    if parquet.metadata.row_group(group).total_byte_size <= group_bytes:
        try:
            table = parquet.read_row_group(group)
        except _TOO_LARGE:
            # Dictionary-encoded data can exceed 2 GiB when decoded.
            pass
        else:
            yield table if keep.all() else _filtered(table, keep)
            return
    pending: list[pa.RecordBatch] = []
    start = 0
    for batch in _batches(parquet, group, batch_bytes):
        pending += _filtered(pa.table(batch), keep[start : start + len(batch)]).to_batches()
        start += len(batch)
        if sum(kept.nbytes for kept in pending) > group_bytes:
            yield pa.Table.from_batches(pending)
            pending = []
    if sum(map(len, pending)):
        yield pa.Table.from_batches(pending)


def _filtered(table: pa.Table, keep: np.ndarray) -> pa.Table:
    try:
        return table.filter(pa.array(keep))
    except pa.ArrowNotImplementedError:
        # Arrow cannot filter some types, such as string views: slice the runs of kept rows.
        bounds = np.flatnonzero(np.diff(keep, prepend=False, append=False)).reshape(-1, 2)
        runs = [table.slice(start, end - start) for start, end in bounds.tolist()]
        return pa.concat_tables(runs or [table.slice(0, 0)])


def _batches(parquet: pq.ParquetFile, group: int, batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield a row group in batches of about ``batch_bytes``, with fewer rows if Arrow fails."""
    metadata = parquet.metadata.row_group(group)
    size = max(1, metadata.num_rows * batch_bytes // max(1, metadata.total_byte_size))
    done = 0
    while True:
        start = 0
        try:
            for batch in parquet.iter_batches(size, row_groups=[group]):
                end = start + len(batch)
                if end > done:
                    yield batch.slice(max(0, done - start))
                    done = end
                start = end
            return
        except _TOO_LARGE:
            if size == 1:
                raise
            size = max(1, size // 8)


def _int96_unit(source: Path) -> str | None:
    """Return the unit for a file's INT96 timestamps: ns, or us if they exceed the year 2262."""
    metadata = pq.read_metadata(source)
    columns = [
        metadata.schema.column(index).path
        for index in range(metadata.num_columns)
        if metadata.schema.column(index).physical_type == "INT96"
    ]
    if not columns:
        return None
    fine, wide = (pq.ParquetFile(source, coerce_int96_timestamp_unit=unit) for unit in ("ns", "us"))
    for group in range(metadata.num_row_groups):
        small, large = (file.read_row_group(group, columns=columns) for file in (fine, wide))
        if not small.cast(large.schema, safe=False).equals(large):
            return "us"
    return "ns"


def _options(metadata: pq.FileMetaData) -> dict[str, Any]:
    """Return the writer options that the file's metadata shows."""
    stored = metadata.metadata or {}
    options: dict[str, Any] = {
        "version": metadata.format_version,
        "store_schema": b"ARROW:schema" in stored,
        "use_compliant_nested_type": False,  # else elements of lists are renamed
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
    }
    if metadata.num_row_groups == 0 or metadata.num_columns == 0:
        return options
    group = metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    options["compression"] = {
        column.path_in_schema: _codec(column.compression) for column in columns
    }
    options["use_dictionary"] = [
        column.path_in_schema for column in columns if column.has_dictionary_page
    ]
    options["use_deprecated_int96_timestamps"] = any(
        column.physical_type == "INT96" for column in columns
    )
    return options


def _codec(name: str) -> str:
    return "none" if name == "UNCOMPRESSED" else name.lower()
