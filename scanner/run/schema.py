"""The tables of a run, column by column, and how they are written as Parquet.

Each field carries its description, and its unit and source where it has them, as metadata.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.run.records import Part
from scanner.storage import Store


def column(
    name: str, kind: pa.DataType, description: str, unit: str = "", source: str = ""
) -> pa.Field:
    """Return a field with its description, unit and source as metadata."""
    metadata = {"description": description, "unit": unit, "source": source}
    return pa.field(name, kind, metadata={key: text for key, text in metadata.items() if text})


CAPTION_ID = column(
    "caption_id", pa.string(), "first 128 bits of the SHA-256 of the canonical caption, in hex"
)
CAPTIONS = pa.schema(
    [
        CAPTION_ID,
        column(
            "caption",
            pa.string(),
            "most frequent original spelling, ties to the smallest",
        ),
        column("canonical", pa.string(), "the text as the model's tokenizer normalizes it"),
        column("is_reference", pa.bool_(), "only in --reference files: not in the training set"),
    ]
)
REJECTS = pa.schema(
    [
        column("source", pa.string(), "input file; null for a rejected caption"),
        column("row", pa.int64(), "row in the file, from 0; null for a whole file or a caption"),
        column("key", pa.string(), "the sample's key, if it could be read"),
        column("caption_id", pa.string(), "the caption, if it has an id"),
        column("stage", pa.string(), "plan or scan"),
        column("reason", pa.string(), "why there is no score"),
    ]
)


def rejects_table(
    stage: str, reasons: Sequence[str], source: str | None = None, **columns: Sequence[Any]
) -> pa.Table:
    """Return one row per reason, with the same stage and source; columns not given are null."""
    rows = len(reasons)
    given = {"stage": [stage] * rows, "reason": reasons, "source": [source] * rows, **columns}
    nothing = [None] * rows
    return pa.table([given.get(name, nothing) for name in REJECTS.names], schema=REJECTS)


CAPTION_COLUMN = column("caption_column", pa.string(), "the input's column with the caption")


def samples_schema(keep: list[pa.Field], names_column: bool = False) -> pa.Schema:
    """Return the schema of samples, one per row of the training set; ``keep``: copied columns.

    ``names_column``: rows have several captions, each a sample, with its column's name.
    """
    return pa.schema(
        [
            CAPTION_ID,
            column("source", pa.string(), "input file"),
            column("row", pa.int64(), "row in the file, from 0"),
            column("key", pa.string(), "the key column's value; null if there is no key column"),
            column(
                "image_key",
                pa.string(),
                "identifies the image: samples with equal values share one image",
            ),
            *keep,
            *([CAPTION_COLUMN] if names_column else []),
            column("is_reference", pa.bool_(), "from a --reference file"),
        ]
    )


def with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return the table with other values in a column that it has."""
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), values)


def write_part(
    store: Store,
    kind: str,
    name: str,
    table: pa.Table,
    row_group: int | None = None,
    compression: str | dict[str, str] = "zstd",
    cuts: Sequence[int] = (),
) -> Part:
    """Write one table as ``kind/name.parquet`` and describe what was written.

    ``row_group``: most rows per row group; ``compression``: of all columns, or by column; ``cuts``:
    rows at which another row group begins anyway.
    """
    sink = pa.BufferOutputStream()
    dictionary = _repeating(table.schema)
    with pq.ParquetWriter(
        sink, table.schema, compression=compression, use_dictionary=dictionary
    ) as writer:
        for start, end in pairwise((0, *cuts, table.num_rows)):
            writer.write_table(table.slice(start, end - start), row_group)
    data = sink.getvalue().to_pybytes()
    path = f"{kind}/{name}.parquet"
    etag = store.write(path, data)
    return Part(kind, path, table.num_rows, hashlib.sha256(data).hexdigest(), len(data), etag)


def _repeating(schema: pa.Schema) -> list[str]:
    """Return the text columns that repeat, unlike ids and captions, for dictionary encoding."""
    distinct = ("caption_id", "caption", "canonical", "key")
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    return [name for name in text if name not in distinct]
