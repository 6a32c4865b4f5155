"""Which images samples show: pairs of an image and a caption, staged by image; and how often the
images of captions are repeated, staged by caption."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.captions.identity import caption_ids
from scanner.captions.image_repeats import count_repeats
from scanner.run import Output
from scanner.run.schema import CAPTION_ID, column
from scanner.scan.plan.cuts import IdRange, read_cuts, stage
from scanner.scan.plan.sizes import PlanSizes
from scanner.scan.plan.staged_rows import StagedRows, StagingWork
from scanner.storage import Store

IMAGE_ID = column("image_id", pa.string(), "first 128 bits of the SHA-256 of the image key, in hex")
PAIRS = pa.schema(
    [IMAGE_ID, CAPTION_ID, column("n", pa.int64(), "number of samples with this image and caption")]
)
REPEATS = pa.schema(
    [
        CAPTION_ID,
        column("n", pa.int64(), "number of samples that share one of its images, the most"),
    ]
)


def _merge(tables: list[pa.Table], schema: pa.Schema, function: str) -> pa.Table:
    *keys, count = schema.names
    rows = pa.concat_tables(tables)
    tables.clear()
    groups = rows.group_by(keys, use_threads=False).aggregate([(count, function)])
    merged = groups.select([*keys, f"{count}_{function}"]).rename_columns(schema.names)
    return merged.sort_by([(key, "ascending") for key in keys]).cast(schema)


IMAGES = "ranges of image ids"
merge_pairs: Callable[[list[pa.Table]], pa.Table] = partial(_merge, schema=PAIRS, function="sum")
merge_repeats: Callable[[list[pa.Table]], pa.Table] = partial(
    _merge, schema=REPEATS, function="max"
)
PAIR_ROWS = StagedRows("pairs", "image_merge", PAIRS, merge_pairs, IMAGES)
REPEAT_ROWS = StagedRows("repeats", "repeat_merge", REPEATS, merge_repeats)


@dataclass(frozen=True)
class SamplesFile:
    """A samples file. ``is_earlier``: of an earlier plan, whose captions are not planned again."""

    id: str
    path: str
    is_earlier: bool = False


def pairs_of(samples: pa.Table, is_earlier: bool = False) -> pa.Table:
    """Return the pairs of samples, without those of reference captions.

    A sample whose image key is null or empty counts as a unique image and is not in any pair.
    ``is_earlier``: the captions are null.
    """
    keys = samples["image_key"]
    is_used = pc.and_(pc.invert(samples["is_reference"]), pc.not_equal(keys, ""))
    used = samples.select(["image_key", "caption_id"]).filter(is_used)  # drops null keys too
    encoded = used["image_key"].combine_chunks().dictionary_encode()
    captions = pa.nulls(len(used), pa.string()) if is_earlier else used["caption_id"]
    pairs = pa.table(
        [
            caption_ids(encoded.dictionary.to_pylist()).take(encoded.indices),
            captions,
            pa.repeat(pa.scalar(1, pa.int64()), len(used)),
        ],
        schema=PAIRS,
    )
    return merge_pairs([pairs])


class PairWork(StagingWork[SamplesFile]):
    """Makes pairs of samples files."""

    def __init__(self, store: Store, folder: str, sizes: PlanSizes) -> None:
        super().__init__(store, PAIR_ROWS, folder, sizes)

    def _outputs(self, item: SamplesFile, notes: list[dict[str, Any]]) -> Iterator[Output]:
        # A cache would fetch the other columns too; the few read are fetched in one request.
        with self.store.open(item.path, cache_type="none") as file:
            names = ["image_key", "caption_id", "is_reference"]
            samples = pq.ParquetFile(file, pre_buffer=True).read(columns=names)
        yield from stage(self.kind, pairs_of(samples, item.is_earlier), self.sizes, notes)


class RepeatWork(StagingWork[IdRange]):
    """Counts the samples of the images in a range, and writes those of repeated images by caption.

    Captions with ids above ``cutoff`` are omitted.
    """

    def __init__(self, store: Store, folder: str, sizes: PlanSizes, cutoff: str | None) -> None:
        super().__init__(store, REPEAT_ROWS, folder, sizes)
        self.cutoff = cutoff

    def _outputs(self, item: IdRange, notes: list[dict[str, Any]]) -> Iterator[Output]:
        tables = read_cuts(self.store, item, PAIRS)
        pairs = (batch for table in tables for batch in table.to_batches())
        reader = pa.RecordBatchReader.from_batches(PAIRS, pairs)
        for batch in count_repeats(reader, self.cutoff, self.sizes.chunk_rows):
            yield from stage(self.kind, pa.table(batch).cast(REPEATS), self.sizes, notes)
