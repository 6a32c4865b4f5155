"""Read a Parquet row group as one table, in bounded memory."""

from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.limits import ROW_GROUP_BYTES
from scanner.captions.long_values import value_bytes
from scanner.captions.parquet import SkippedRows, bounded_batches

# Of a value's place: an offset or an index.
PLACE_BYTES = 4


def read_row_group(
    file: IO[bytes], parquet: pq.ParquetFile, group: int, columns: Sequence[str]
) -> pa.Table:
    """Return columns of a row group, with the types of the file.

    Raises ValueError if it exceeds a limit.
    """
    schema = parquet.schema_arrow
    wanted = pa.schema([schema.field(name) for name in columns], schema.metadata)
    batches = bounded_batches(file, parquet, [group], columns)
    tables = bounded_tables(batches, wanted, ROW_GROUP_BYTES)
    return pa.concat_tables([wanted.empty_table(), *tables])


def bounded_tables(
    batches: Iterator[pa.RecordBatch | SkippedRows], schema: pa.Schema, most: int
) -> Iterator[pa.Table]:
    """Yield batches as tables of a schema, dictionaries decoded.

    Raises ValueError before the tables together take more than ``most`` bytes, or for skipped rows.
    """
    size = 0
    for batch in batches:
        if isinstance(batch, SkippedRows):
            raise ValueError(batch.reason)
        table = pa.table(batch).select(schema.names)
        size += sum(_decoded_bytes(chunk) for column in table.columns for chunk in column.chunks)
        if size > most:
            raise ValueError(f"over {most >> 20} MiB in memory")
        yield table.cast(schema)


def _decoded_bytes(values: pa.Array) -> int:
    sizes = value_bytes(values)
    return values.nbytes if sizes is None else int(sizes.sum()) + PLACE_BYTES * len(values)
