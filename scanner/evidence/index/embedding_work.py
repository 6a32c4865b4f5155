"""Embed the images of an item in an actor: read, decode and embed in bounded memory."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch

from scanner.captions.images import NotAnImage
from scanner.cluster import Result, report
from scanner.cluster.broken_devices import raise_broken_devices
from scanner.credentials import without_secrets
from scanner.evidence.embedding_file import EmbeddingFile
from scanner.evidence.index.embedders import Embedder, make_embedder
from scanner.evidence.index.image_stream import Found, ImageStream
from scanner.evidence.index.plan import ImageBatch, read_list
from scanner.evidence.index.read_ahead import read_ahead
from scanner.evidence.index.shards import IMAGES, UNREADABLE, UNREADABLE_KIND, shards_of
from scanner.evidence.training_images.sample_images import SampleImages
from scanner.models.device.gpu_share import keep_to_share
from scanner.run import Output
from scanner.storage import ImageHosts, Roots, Store

NOT_FINITE = "its embedding is not finite"
# Encoded images held at a time.
HELD_BYTES = 64 << 20
DOWNLOADS = 8


@dataclass(frozen=True)
class EmbedWork:
    """Picklable factory of an actor's work; loads nothing until it is called.

    ``out``: the index; ``images``: template of images' locations, else they are stored with the
    samples; ``roots``: where files of samples may be stored; ``gpu_share``: of one GPU's memory.
    """

    out: Store
    embedding: EmbeddingFile | None
    images: str | None
    image_column: str | None
    roots: Roots
    device: str
    threads: int
    batch_size: int
    gpu_share: float = 1.0

    def __call__(self) -> "_Embedding":
        if self.device == "cpu":
            torch.set_num_threads(self.threads)
        keep_to_share(self.device, self.gpu_share)
        return _Embedding(self, make_embedder(self.embedding, self.device))


# An image's number, and its crop or why it has none.
Crop = tuple[int, np.ndarray | str]


@dataclass
class _Embedded:
    """The images of an item, the vectors of those that could be read, and why the others could
    not, both by number."""

    images: pa.Table
    numbers: list[int] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass
class _Embedding:
    """The work (scanner.cluster.Work)."""

    how: EmbedWork
    embedder: Embedder
    hosts: ImageHosts = field(default_factory=ImageHosts)

    def prepare(self, item: ImageBatch) -> pa.Table:
        return read_list(self.how.out, item)

    def compute(self, prepared: pa.Table) -> _Embedded:
        done = _Embedded(prepared)
        with raise_broken_devices():
            for batch in read_ahead(self._crops(prepared)):
                self._embed(batch, done)
                report(len(done.numbers) + len(done.reasons))
        return done

    def finish(self, computed: _Embedded) -> Result:
        order = np.argsort(computed.numbers)
        good = computed.images.take(np.asarray(computed.numbers, np.int64)[order])
        outputs: list[Output] = []
        if len(good):
            outputs += shards_of(good, np.concatenate(computed.vectors)[order])
        reasons = dict(sorted(computed.reasons.items()))
        bad = computed.images.take(pa.array(reasons, pa.int64())).select(IMAGES.names)
        columns = [*bad.columns, pa.array(reasons.values(), pa.string())]
        outputs.append(Output(UNREADABLE_KIND, pa.table(columns, schema=UNREADABLE)))
        samples = sum(good["samples"].to_pylist())
        problems = dict(Counter(reasons.values()))
        return Result(outputs, {"images": len(good), "samples": samples, "problems": problems})

    def _embed(self, batch: list[Crop], done: _Embedded) -> None:
        crops = {number: crop for number, crop in batch if isinstance(crop, np.ndarray)}
        done.reasons |= {number: crop for number, crop in batch if isinstance(crop, str)}
        if not crops:
            return
        vectors = self.embedder.vectors(list(crops.values()))
        finite = np.isfinite(vectors).all(1)
        done.reasons |= {
            number: NOT_FINITE for number, good in zip(crops, finite, strict=True) if not good
        }
        done.numbers += [number for number, good in zip(crops, finite, strict=True) if good]
        done.vectors.append(vectors[finite].astype(np.float16))

    def _crops(self, samples: pa.Table) -> Iterator[list[Crop]]:
        """Yield the images in batches, decoded and cropped in threads."""
        if self.how.images:
            yield from self._crops_of_files(samples)
            return
        stream = ImageStream(self.how.image_column, self.how.roots).images(samples)
        with ThreadPoolExecutor(self.how.threads) as threads:
            for batch in _batches(stream, self.how.batch_size):
                yield list(threads.map(self._decoded, batch))

    def _decoded(self, found: Found) -> Crop:
        number, data = found
        if isinstance(data, str):
            return number, without_secrets(data)
        try:
            return number, self.embedder.decode(data)
        except NotAnImage as error:
            return number, f"unreadable image: {error.kind}"

    def _crops_of_files(self, samples: pa.Table) -> Iterator[list[Crop]]:
        """Yield the images of a template in batches, fetched in threads."""
        rows = (
            row for batch in samples.to_batches(self.how.batch_size) for row in batch.to_pylist()
        )
        numbered = enumerate(rows)
        with ThreadPoolExecutor(DOWNLOADS) as threads:
            while some := list(itertools.islice(numbered, self.how.batch_size)):
                yield list(threads.map(lambda pair: self._fetched(*pair), some))

    def _fetched(self, number: int, sample: dict) -> Crop:
        references = SampleImages(self.how.images, None, self.how.roots, self.hosts)
        (image,) = references.images([sample])
        if image is None:
            return number, without_secrets(next(iter(references.problems)))
        return number, self.embedder.crop(image)


def _batches(found: Iterable[Found], most: int) -> Iterator[list[Found]]:
    """Collect images into batches of at most ``most`` images or about HELD_BYTES."""
    batch, size = list[Found](), 0
    for one in found:
        batch.append(one)
        size += len(one[1])
        if len(batch) == most or size >= HELD_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
