"""The work of hashing images in an actor: read a group's images, hash each as it is decoded."""

from dataclasses import dataclass, field

import imagehash
import numpy as np
import pyarrow as pa
from PIL import Image

from scanner.captions.images import open_image
from scanner.cluster import Result
from scanner.credentials import without_secrets
from scanner.evidence.training_images.image_groups import ImageGroup
from scanner.evidence.training_images.sample_images import SampleImages
from scanner.run import Output
from scanner.storage import ImageHosts, Roots

HASHES = "hashes"
COLOR_SIDE = 4
HASHED = pa.schema(
    {
        "image": pa.string(),
        "image_key": pa.string(),
        "source": pa.string(),
        "row": pa.int64(),
        "key": pa.string(),
        "samples": pa.int64(),
        "hash": pa.uint64(),
        "colors": pa.list_(pa.float32()),
        "width": pa.int32(),
        "height": pa.int32(),
    }
)


@dataclass(frozen=True)
class HashedImage:
    """``hash``: the perceptual hash (DCT of the grey image), 64 bits; ``colors``: its 4 × 4 mean
    colors, in [0, 255]; the size in pixels."""

    hash: int
    colors: list[float]
    width: int
    height: int


def hash_image(data: bytes) -> HashedImage:
    """Decode and hash an image. Raises NotAnImage."""
    image = open_image(data)
    bits = imagehash.phash(image).hash.flatten()
    mean = image.resize((COLOR_SIDE, COLOR_SIDE), Image.Resampling.BOX)
    colors = np.asarray(mean, np.float32).flatten().tolist()
    return HashedImage(int.from_bytes(np.packbits(bits).tobytes()), colors, *image.size)


@dataclass(frozen=True)
class HashWork:
    """Picklable factory of an actor's work. ``images``, ``image_column``, ``roots``: as
    SampleImages takes them."""

    images: str | None
    image_column: str | None
    roots: Roots

    def __call__(self) -> "ImageHasher":
        return ImageHasher(self)


@dataclass
class HashedGroup:
    """A group with its images, None for those that could not be read, and why."""

    group: ImageGroup
    images: list[HashedImage | None]
    problems: dict[str, int]


@dataclass
class ImageHasher:
    """The work (scanner.cluster.Work)."""

    how: HashWork
    hosts: ImageHosts = field(default_factory=ImageHosts)

    def prepare(self, item: ImageGroup) -> HashedGroup:
        how = self.how
        finder = SampleImages(how.images, how.image_column, how.roots, self.hosts, hash_image)
        images = finder.images(item.rows["file"].to_pylist())
        problems = {without_secrets(why): count for why, count in finder.problems.items()}
        return HashedGroup(item, images, problems)

    def compute(self, prepared: HashedGroup) -> HashedGroup:
        """Nothing is left for a device."""
        return prepared

    def finish(self, computed: HashedGroup) -> Result:
        rows = []
        for row, image in zip(computed.group.rows.to_pylist(), computed.images, strict=True):
            if image is not None:
                first = {name: row["file"][name] for name in ("source", "row", "key")}
                rows.append({**row, **first, **vars(image)})
        notes = {
            "images": len(rows),
            "missing": len(computed.images) - len(rows),
            "problems": computed.problems,
        }
        return Result([Output(HASHES, pa.Table.from_pylist(rows, schema=HASHED))], notes)
