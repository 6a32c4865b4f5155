"""The plan of an index: lists of images, cut into items of work, frozen for all drivers."""

import contextlib
import hashlib
import io
import itertools
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.formats import ending_of, inspect
from scanner.captions.parquet import open_parquet
from scanner.captions.row_groups import read_row_group
from scanner.errors import UserError
from scanner.run.json_files import Count, FileName, Id
from scanner.run.records import LARGEST_BYTES, decode, encode
from scanner.storage import Store

PLAN = "plan.json"
REMEDY = "remove the index and rerun the same memscan index-images"
# Row groups (one per item) and images per list.
LIST_ITEMS = 64
LIST_IMAGES = 1 << 18


@dataclass(frozen=True)
class ItemSizes:
    """Images per item: an item ends at the next file or row group after ``enough``, or at
    ``most``."""

    enough: int = 1 << 14
    most: int = 1 << 16


@dataclass(frozen=True)
class ImageBatch:
    """Images that are embedded and committed together: row group ``group`` of a list."""

    id: Id
    path: FileName
    group: Count
    images: Count


@dataclass(frozen=True)
class IndexPlan:
    """What an index contains: ``about``, all that it depends on, the items and the unreadable
    files."""

    fingerprint: str
    about: dict[str, Any]
    items: tuple[ImageBatch, ...]
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def images(self) -> int:
        return sum(item.images for item in self.items)

    def to_json(self) -> bytes:
        return encode(asdict(self))


def digest(names: Sequence[str]) -> str:
    """Return a hash of a list of names."""
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()


def read_plan(store: Store) -> IndexPlan | None:
    """Return the plan of an index; None before it has one. Raises DamagedFile."""
    if not store.exists(PLAN):
        return None
    return decode(store.location(PLAN), store.read(PLAN, LARGEST_BYTES), IndexPlan, REMEDY)


def write_lists(
    store: Store, images: Iterable[pa.RecordBatch], sizes: ItemSizes, cut_anywhere: bool
) -> tuple[ImageBatch, ...]:
    """Write the lists of images under unique names, and return their items.

    ``cut_anywhere``: images are separate files, so that an item can end at any of them.
    """
    attempt, items = uuid.uuid4().hex[:12], list[ImageBatch]()
    pending: list[pa.Table] = []

    def flush() -> None:
        path = f"lists/{attempt}-{len(items):06d}.parquet"
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, pending[0].schema, compression="zstd") as writer:
            for group, table in enumerate(pending):
                writer.write_table(table, row_group_size=max(1, len(table)))
                items.append(ImageBatch(f"{len(items):06d}", path, group, len(table)))
        store.write(path, sink.getvalue())
        pending.clear()

    for table in _cut(images, sizes, cut_anywhere):
        pending.append(table)
        if len(pending) == LIST_ITEMS or sum(map(len, pending)) >= LIST_IMAGES:
            flush()
    if pending:
        flush()
    return tuple(items)


def read_list(store: Store, item: ImageBatch) -> pa.Table:
    """Return an item's images, in bounded memory. Raises ValueError or OSError if it is damaged."""
    with store.open(item.path) as file:
        parquet = open_parquet(file)
        try:
            if item.group >= parquet.metadata.num_row_groups:
                raise ValueError(f"no row group {item.group}")
            images = read_row_group(file, parquet, item.group, parquet.schema_arrow.names)
        except ValueError as error:
            raise ValueError(f"{store.location(item.path)}: {error}") from error
    if len(images) != item.images:
        raise ValueError(
            f"{store.location(item.path)}: {len(images):,} images instead of {item.images:,}"
        )
    return images


def _cut(
    images: Iterable[pa.RecordBatch], sizes: ItemSizes, cut_anywhere: bool
) -> Iterator[pa.Table]:
    """Yield the images of one item after the other."""
    held, count, before, last, ends = list[pa.Table](), 0, "", -1, np.empty(0)
    for source, table in _runs(images):
        if source != before:
            if count >= sizes.enough:
                yield pa.concat_tables(held)
                held, count = [], 0
            before, last, ends = source, -1, np.empty(0)
        while len(table):
            rows = table["row"].to_numpy()
            room = min(len(table), max(0, sizes.enough - count))
            if room < len(table) and not cut_anywhere:
                # Up to the end of the row group that the last image that has room is in.
                ends = ends if len(ends) else _group_ends(source)
                end = ends[np.searchsorted(ends, (rows[room - 1] if room else last) + 1)]
                room = min(int(np.searchsorted(rows, end)), sizes.most - count)
            held.append(table.slice(0, room))
            count += len(held[-1])
            last = rows[room - 1] if room else last
            table = table.slice(room)
            if len(table):
                yield pa.concat_tables(held)
                held, count = [], 0
    if held:
        yield pa.concat_tables(held)


def _group_ends(source: str) -> np.ndarray:
    """Return the rows at which a Parquet file's row groups end, then infinity."""
    groups: tuple[int, ...] = ()
    if ending_of(source) == ".parquet":
        with contextlib.suppress(UserError):  # reading its images reports it
            groups = inspect(source).row_groups
    return np.append(np.cumsum(groups, dtype=float), np.inf)


def _runs(images: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """Yield consecutive images of one source."""
    for batch in images:
        table = pa.table(batch)
        codes = table["source"].combine_chunks().dictionary_encode().indices.to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(table)]
        for start, end in itertools.pairwise(starts):
            if end > start:
                yield table["source"][start].as_py(), table.slice(start, end - start)
