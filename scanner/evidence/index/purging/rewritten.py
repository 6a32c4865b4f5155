"""Write the files of an index again without what is purged."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.evidence.index.plan import ImageBatch, IndexPlan, read_list
from scanner.evidence.index.shards import IMAGES, KIND, UNREADABLE, read_shard, shard_of
from scanner.run import Commit, Output
from scanner.run.part_tables import read_part_groups
from scanner.run.records import Part
from scanner.run.results import DamagedPart
from scanner.storage import Store, is_transient

# Of long keys of images that could not be read, beyond the usual bytes per row.
TEXT_BYTES = 256 << 20
# Added to the names of rewritten files.
_SUFFIX = re.compile(r"-p[0-9a-f]{12}$")


@dataclass(frozen=True)
class Purging:
    """``has``: which of N images (a table with the columns of IMAGES) are purged (N,); ``name``: of
    these images, for the names of new files."""

    store: Store
    name: str
    has: Callable[[pa.Table], np.ndarray]

    def rewritten(self, path: str) -> str:
        """Return the name, without folder and ending, of the file that replaces another."""
        stem = path.rpartition("/")[2].removesuffix(".parquet")
        return f"{_SUFFIX.sub('', stem)}-p{self.name}"


@dataclass(frozen=True)
class PurgedPlan:
    """A plan without purged images; ``touched``: old items that have some, and how many."""

    plan: IndexPlan
    touched: dict[str, int]

    @property
    def images(self) -> int:
        return sum(self.touched.values())


def purged_plan(purging: Purging, plan: IndexPlan, writes: bool = True) -> PurgedPlan:
    """Return the plan without purged images, after writing its new lists if ``writes``.

    An item that loses all its images is omitted. Raises DamagedPart if a list is damaged.
    """
    items: list[ImageBatch] = []
    touched: dict[str, int] = {}
    by_path: dict[str, list[ImageBatch]] = {}
    for item in plan.items:
        by_path.setdefault(item.path, []).append(item)
    for path, old in by_path.items():
        lost = {item.id: int(purging.has(_read_list(purging.store, item)).sum()) for item in old}
        touched |= {name: count for name, count in lost.items() if count}
        if not any(lost.values()):
            items += old
        elif writes:
            items += _rewritten_list(purging, path, old)
    return PurgedPlan(replace(plan, items=tuple(items)), touched)


def _rewritten_list(purging: Purging, path: str, items: list[ImageBatch]) -> Iterator[ImageBatch]:
    """Write the images of some items that stay, and yield the items that have any."""
    name = f"lists/{purging.rewritten(path)}.parquet"
    sink = io.BytesIO()
    new: list[ImageBatch] = []
    writer: pq.ParquetWriter | None = None
    for item in items:
        images = _read_list(purging.store, item)
        images = images.filter(pa.array(~purging.has(images)))
        if not len(images):
            continue
        writer = writer or pq.ParquetWriter(sink, images.schema, compression="zstd")
        writer.write_table(images, row_group_size=len(images))
        new.append(ImageBatch(item.id, name, len(new), len(images)))
    if writer:
        writer.close()
        purging.store.write(name, sink.getvalue())
    yield from new


def purged_commit(purging: Purging, commit: Commit, dimension: int) -> Commit:
    """Return the next generation of an item's commit, after writing its new parts.

    Raises DamagedPart or DamagedFile.
    """
    parts: list[Part] = []
    images, samples = commit.notes["images"], commit.notes["samples"]
    problems: Counter[str] = Counter()
    for part in commit.parts:
        table = _read_part(purging.store, part, dimension)
        gone = purging.has(table)
        kept = table.filter(pa.array(~gone))
        if part.kind == KIND:
            images -= int(gone.sum())
            samples -= pc.sum(table["samples"].filter(pa.array(gone))).as_py() or 0
        else:
            problems.update(kept["reason"].to_pylist())
        if not gone.any():
            parts.append(part)
        elif len(kept):
            output = shard_of(kept) if part.kind == KIND else Output(part.kind, kept)
            parts.append(output.write(purging.store, purging.rewritten(part.path)))
    notes = {**commit.notes, "images": images, "samples": samples, "problems": dict(problems)}
    return replace(
        commit,
        generation=commit.generation + 1,
        attempt=purging.name,
        parts=tuple(parts),
        notes=notes,
    )


def _read_list(store: Store, item: ImageBatch) -> pa.Table:
    """Return an item's images. Raises DamagedPart if its list is damaged."""
    try:
        images = read_list(store, item)
    except (pa.ArrowException, OSError, ValueError) as error:
        if is_transient(error):
            raise
        raise DamagedPart(f"{item.path} is damaged ({error})") from error
    _check_columns(images, IMAGES, item.path)
    return images


def _read_part(store: Store, part: Part, dimension: int) -> pa.Table:
    if part.kind == KIND:
        return read_shard(store, part, dimension)
    _, groups = read_part_groups(store, part, TEXT_BYTES)
    for table in groups:
        _check_columns(table, UNREADABLE, part.path)
    return pa.concat_tables([UNREADABLE.empty_table(), *groups])


def _check_columns(table: pa.Table, schema: pa.Schema, path: str) -> None:
    names = [name for name in schema.names if table.schema.names.count(name) == 1]
    if names != schema.names or not table.select(names).schema.equals(schema):
        raise DamagedPart(f"{path} is damaged (other columns than those of an index)")
