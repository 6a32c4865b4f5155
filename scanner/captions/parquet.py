"""Rows of parquet files, as Arrow arrays."""

from collections.abc import Iterator
from typing import IO

import pyarrow.parquet as pq

from scanner.captions.batch import Batch, Contents, Extent, check_columns
from scanner.storage import open_input

PARQUET_ROWS = 1 << 15


def _open(url: str) -> IO[bytes]:
    # Each column of a row group is one read; a cache would fetch what lies behind it as well.
    return open_input(url, cache_type="none")


def parquet_contents(url: str) -> Contents:
    with _open(url) as file:
        if not file.seek(0, 2):
            return Contents([], 0)
        parquet = pq.ParquetFile(file)
        groups = range(parquet.metadata.num_row_groups)
        rows = tuple(parquet.metadata.row_group(group).num_rows for group in groups)
        return Contents(list(parquet.schema_arrow.names), file.seek(0, 2), rows)


def parquet_batches(url: str, columns: list[str], extent: Extent | None) -> Iterator[Batch]:
    with _open(url) as file:
        if not file.seek(0, 2):
            return
        # As nanoseconds, INT96 timestamps after the year 2262 would come out as others.
        parquet = pq.ParquetFile(file, coerce_int96_timestamp_unit="us")
        check_columns(parquet.schema_arrow.names, columns)
        groups = range(parquet.metadata.num_row_groups)
        start = 0
        if extent:
            groups, start = groups[extent.first : extent.end], extent.row
        for batch in parquet.iter_batches(PARQUET_ROWS, row_groups=list(groups), columns=columns):
            # A name can stand twice in a file; the first one counts.
            places = {name: batch.schema.get_all_field_indices(name)[0] for name in columns}
            values = {name: batch.column(place) for name, place in places.items()}
            yield Batch(range(start, start + len(batch)), values, [])
            start += len(batch)
