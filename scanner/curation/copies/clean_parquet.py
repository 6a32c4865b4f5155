"""A parquet file without some of its rows: same schema, metadata and compression."""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Pictures that repeat are stored once a row group where the file they come from does so.
DICTIONARY_BYTES = 1 << 26
GROUP_BYTES = 1 << 29
BATCH_BYTES = 1 << 26
# What Arrow raises where a nested column of a batch takes more than 2 GiB.
_TOO_LARGE = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowCapacityError)


def clean_parquet(source: Path, target: Path, removed: Set[int]) -> None:
    """Write ``target``, a row group at a time; a row group that loses every row goes.

    A row group over ``GROUP_BYTES`` becomes several: Arrow holds no more than 2 GiB of a nested
    column in one piece.
    """
    unit = _int96_unit(source)
    # Without pre_buffer, a large row group is not held whole.
    parquet = pq.ParquetFile(
        source, memory_map=True, pre_buffer=False, coerce_int96_timestamp_unit=unit
    )
    gone = np.array(sorted(removed), np.int64)
    first = 0
    with pq.ParquetWriter(target, parquet.schema_arrow, **_options(parquet.metadata)) as writer:
        for group in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            keep = np.ones(rows, bool)
            keep[gone[slice(*np.searchsorted(gone, [first, first + rows]))] - first] = False
            first += rows
            if keep.any():
                for table in _kept(parquet, group, keep):
                    writer.write_table(table, row_group_size=max(1, len(table)))


def _kept(parquet: pq.ParquetFile, group: int, keep: np.ndarray) -> Iterator[pa.Table]:
    """The rows of a row group to keep, in tables of about ``GROUP_BYTES`` at most."""
    if parquet.metadata.row_group(group).total_byte_size <= GROUP_BYTES:
        try:
            table = parquet.read_row_group(group)
        except _TOO_LARGE:
            # A dictionary held in a little what takes more than 2 GiB read out.
            pass
        else:
            yield table if keep.all() else _filtered(table, keep)
            return
    held: list[pa.RecordBatch] = []
    place = 0
    for batch in _batches(parquet, group):
        held += _filtered(pa.table(batch), keep[place : place + len(batch)]).to_batches()
        place += len(batch)
        if sum(one.nbytes for one in held) > GROUP_BYTES:
            yield pa.Table.from_batches(held)
            held = []
    if sum(map(len, held)):
        yield pa.Table.from_batches(held)


def _filtered(table: pa.Table, keep: np.ndarray) -> pa.Table:
    try:
        return table.filter(pa.array(keep))
    except pa.ArrowNotImplementedError:
        # Arrow cannot filter string views, for one, but slices them: the runs of rows that stay.
        bounds = np.flatnonzero(np.diff(keep, prepend=False, append=False)).reshape(-1, 2)
        runs = [table.slice(start, end - start) for start, end in bounds.tolist()]
        return pa.concat_tables(runs or [table.slice(0, 0)])


def _batches(parquet: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
    """A row group in batches of about ``BATCH_BYTES``, of fewer rows where those are too large."""
    metadata = parquet.metadata.row_group(group)
    size = max(1, metadata.num_rows * BATCH_BYTES // max(1, metadata.total_byte_size))
    done = 0
    while True:
        place = 0
        try:
            for batch in parquet.iter_batches(size, row_groups=[group]):
                end = place + len(batch)
                if end > done:
                    yield batch.slice(max(0, done - place))
                    done = end
                place = end
            return
        except _TOO_LARGE:
            if size == 1:
                raise
            size = max(1, size // 8)


def _int96_unit(source: Path) -> str | None:
    """The unit that holds a file's INT96 timestamps: nanoseconds end in the year 2262."""
    metadata = pq.read_metadata(source)
    columns = [
        metadata.schema.column(at).path
        for at in range(metadata.num_columns)
        if metadata.schema.column(at).physical_type == "INT96"
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
    """What the file was written with, as far as it says so."""
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
    columns = [group.column(place) for place in range(group.num_columns)]
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
