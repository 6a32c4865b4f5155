"""The shards of an index: Parquet parts of one row per image, sorted by source and row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from scanner.captions.parquet import SkippedRows, bounded_batches, open_parquet
from scanner.captions.row_groups import bounded_tables
from scanner.run import Output
from scanner.run.records import Part
from scanner.run.results import DamagedPart, read_part
from scanner.run.schema import column, write_part
from scanner.storage import Store

KIND = "shards"
UNREADABLE_KIND = "unreadable"
VECTOR = "vector"
# Of vectors: per shard, per row group, and decoded at a time (fastest within a core's cache).
SHARD_BYTES = 32 << 20
GROUP_BYTES = 8 << 20
BATCH_BYTES = 2 << 20
LARGEST_SHARD = 1 << 30
LARGEST_DIMENSION = 8192

IMAGES = pa.schema(
    [
        column("source", pa.string(), "input file of the image's first sample"),
        column("row", pa.int64(), "its row in the file, from 0"),
        column("key", pa.string(), "its key; null if there is no key column"),
        column("image_key", pa.string(), "identifies the image; null: the sample itself does"),
        column("samples", pa.int64(), "samples that have this image key"),
    ]
)
"""What identifies an image. Nothing here contains a caption."""
UNREADABLE = pa.schema([*IMAGES, column("reason", pa.string(), "why there is no embedding")])


@cache
def shard_schema(dimension: int) -> pa.Schema:
    """Return the schema of shards: IMAGES and ``vector``, a unit vector in float16."""
    element = pa.field("element", pa.float16(), nullable=False)
    kind = pa.list_(element, dimension)
    vector = column(VECTOR, kind, "unit vector of the image").with_nullable(False)
    return pa.schema([*IMAGES, vector])


@dataclass(frozen=True)
class VectorPart(Output):
    """A part whose vectors are stored uncompressed: they hardly shrink, and are read faster."""

    def write(self, store: Store, name: str) -> Part:
        compression = dict.fromkeys(IMAGES.names, "zstd") | {f"{VECTOR}.list.element": "none"}
        return write_part(store, self.kind, name, self.table, self.row_group, compression)


def shards_of(images: pa.Table, vectors_ND: np.ndarray) -> Iterator[VectorPart]:
    """Yield the shards of some images (the columns of IMAGES) and their vectors (float16)."""
    dimension = vectors_ND.shape[1]
    schema = shard_schema(dimension)
    rows = max(1, SHARD_BYTES // (2 * dimension))
    for start in range(0, len(images), rows):
        flat = pa.array(vectors_ND[start : start + rows].reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, type=schema.field(VECTOR).type)
        columns = [*images.select(IMAGES.names).slice(start, rows).columns, column]
        yield shard_of(pa.table(columns, schema=schema))


def shard_of(table: pa.Table) -> VectorPart:
    """Return the shard of a table, which has shard_schema."""
    dimension = table.schema.field(VECTOR).type.list_size
    return VectorPart(KIND, table, max(1, GROUP_BYTES // (2 * dimension)))


def read_shard(store: Store, part: Part, dimension: int) -> pa.Table:
    """Return all rows of a shard, in bounded memory. Raises DamagedPart."""
    schema = shard_schema(dimension)
    batches = _batches(store, part, dimension, schema.names)
    try:
        tables = bounded_tables(batches, schema, LARGEST_SHARD)
        return pa.concat_tables([schema.empty_table(), *tables])
    except (pa.ArrowException, ValueError) as error:
        raise DamagedPart(f"{part.path} is damaged ({error})") from error


def read_vectors(store: Store, part: Part, dimension: int) -> Iterator[Tensor]:
    """Yield the vectors (N, D) of a shard in order, in float16; check the shard's checksum.

    Raises DamagedPart.
    """
    for batch in _batches(store, part, dimension, [VECTOR]):
        yield torch.from_dlpack(batch.column(0).flatten()).view(-1, dimension)


def read_images(store: Store, part: Part, dimension: int, rows: Sequence[int]) -> pa.Table:
    """Return what identifies the images in these rows of a shard. Raises DamagedPart."""
    tables = [IMAGES.empty_table()]
    wanted, start = np.asarray(rows, np.int64), 0
    for batch in _batches(store, part, dimension, IMAGES.names):
        inside = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
        tables.append(pa.table(batch).select(IMAGES.names).take(inside).cast(IMAGES))
        start += len(batch)
    return pa.concat_tables(tables)


def _batches(
    store: Store, part: Part, dimension: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a shard in batches of bounded size, however it was made."""
    if part.bytes > LARGEST_SHARD:
        raise DamagedPart(f"{part.path} is damaged (it has {part.bytes:,} bytes)")
    file = pa.BufferReader(read_part(store, part))
    rows = 0
    try:
        parquet = open_parquet(file)
        if not parquet.schema_arrow.equals(shard_schema(dimension)):
            raise ValueError("other columns than those of an index")
        groups = range(parquet.metadata.num_row_groups)
        most = max(1, BATCH_BYTES // (2 * dimension))
        for batch in bounded_batches(file, parquet, groups, columns, most):
            if isinstance(batch, SkippedRows):
                raise ValueError(batch.reason)
            rows += len(batch)
            if rows > part.rows:
                raise ValueError(f"more than {part.rows:,} rows")
            yield batch
        if rows != part.rows:
            raise ValueError(f"{rows:,} rows instead of {part.rows:,}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedPart(f"{part.path} is damaged ({error})") from error
