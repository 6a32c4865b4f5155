"""Images of verified captions on a page: generated ones and training images, in bounded size."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from PIL import Image

from scanner.captions.images import NotAnImage, open_image
from scanner.captions.limits import IMAGE_BYTES
from scanner.evidence.training_images.place import NEXT_TO_CAPTIONS, ImagePlace
from scanner.evidence.training_images.sample_images import Sample, SampleImages, reduced_image
from scanner.report.image_sizes import SIDES, data_url, encode, fit_side, page_bytes
from scanner.report.rows import Row
from scanner.run.directory import recorded_roots
from scanner.run.verdicts import OTHER
from scanner.storage import Roots, Store, UnsafeName, is_transient, open_input

log = logging.getLogger("memscan.report")

# Beyond these, not even the smallest images fit a page.
MOST_IMAGES = 2500
MOST_SEEDS = 16
PROBLEMS = 3


Encoded = TypeVar("Encoded", bytes, str)


@dataclass(frozen=True)
class CaptionImages(Generic[Encoded]):
    """Images of a caption, as WebP or as data URLs. ``generated``: by seed; ``training``: the most
    similar training image of the caption; ``source``: that of other captions, if they match it."""

    generated: dict[int, Encoded]
    training: Encoded | None
    source: Encoded | None

    def all(self) -> list[Encoded]:
        found = list(self.generated.values())
        found += [one for one in (self.training, self.source) if one is not None]
        return found


@dataclass(frozen=True)
class Thumbnails:
    """Images by caption id, as data URLs, at most ``side`` pixels wide and high. ``left_out``:
    number of verified captions whose images were not read or did not fit."""

    captions: dict[str, CaptionImages[str]]
    side: int
    left_out: int


NO_THUMBNAILS = Thumbnails({}, 0, 0)


def image_roots(record: dict[str, Any], input_roots: Sequence[str]) -> Roots:
    """Return where a page may read images besides the run itself: local files below the scan's
    --captions, and anything below ``input_roots``. URLs named by the run are not fetched."""
    local = [url for url in recorded_roots(record) if "://" not in url or url.startswith("file://")]
    return Roots.of(local, input_roots)


def read_images(
    store: Store,
    rows: Sequence[Row],
    limit: int,
    roots: Roots,
    place: ImagePlace = NEXT_TO_CAPTIONS,
) -> dict[str, CaptionImages[bytes]]:
    """Read the images of the first ``limit`` rows with a verdict, as WebP, by caption id.

    ``place``: of training images. At most MOST_IMAGES are read. Those that are not shown are
    logged, such as images outside the run that are not below ``roots``.
    """
    chosen = [row for row in rows if row["images"]][:limit]
    references = SampleImages(place.images, place.image_column, roots, decode=_encode_bytes)
    training = _images(references, chosen, "reference_source", "reference_row", "reference_sample")
    foreign = [row for row in chosen if row.get("source_match") == OTHER]
    sources = _images(references, foreign, "source_file", "source_row", "source_sample")
    found: dict[str, CaptionImages[bytes]] = {}
    refused: list[str] = []
    count = 0
    for row in chosen:
        name = row["caption_id"]
        images = CaptionImages(
            dict(_generated(store, row, roots, refused)),
            training.get(name),
            sources.get(name),
        )
        count += len(images.all())
        if count > MOST_IMAGES:
            break
        found[name] = images
    if refused:
        log.warning(f"{len(refused):,} images of verdicts are not shown, such as {refused[0]}")
    for why, times in references.problems.most_common(PROBLEMS):
        log.warning(f"{times:,} training images not shown: {why}")
    return found


def fit_thumbnails(
    images: dict[str, CaptionImages[bytes]], rows: Sequence[Row], most_bytes: int
) -> Thumbnails:
    """Return the images as data URLs of ``most_bytes`` in total: all of them as large as they fit,
    or, if not even the smallest do, those of the first rows."""
    encoded = [one for row in images.values() for one in row.all()]
    side, fitted = fit_side(encoded, most_bytes)
    smaller = dict(zip(encoded, fitted, strict=True))
    captions: dict[str, CaptionImages[str]] = {}
    left_out = sum(bool(row["images"]) for row in rows)
    room = most_bytes
    for name, row in images.items():
        room -= sum(page_bytes(smaller[one]) for one in row.all())
        if room < 0:
            break
        if row.all():
            left_out -= 1
            captions[name] = CaptionImages(
                {seed: data_url(smaller[one]) for seed, one in row.generated.items()},
                data_url(smaller[row.training]) if row.training else None,
                data_url(smaller[row.source]) if row.source else None,
            )
    return Thumbnails(captions, side, left_out)


def _generated(
    store: Store, row: Row, roots: Roots, refused: list[str]
) -> Iterator[tuple[int, bytes]]:
    """Yield seeds with their images; those that are not shown are added to ``refused``."""
    for seed, name in enumerate(row["images"]):
        why = why_refused(store, name, roots)
        if not why and seed >= MOST_SEEDS:
            why = f"of more than {MOST_SEEDS} seeds"
        image = None if why else decode(read_stored(store, name) or b"", SIDES[0])
        if image:
            yield seed, encode(image)
        else:
            refused.append(f"{name!r} ({why or 'missing or damaged'})")


def _images(
    references: SampleImages, rows: Sequence[Row], source: str, number: str, sample: str
) -> dict[str, bytes]:
    """Return training images as WebP by caption id; ``source``, ``number``, ``sample``: the columns
    with their place and their sample, if the run has it."""
    placed = [row for row in rows if row[source] is not None][:MOST_IMAGES]
    samples: list[Sample] = [
        row.get(sample) or {"source": row[source], "row": row[number], "key": None}
        for row in placed
    ]
    images = zip(placed, references.images(samples), strict=True)
    return {row["caption_id"]: image for row, image in images if image}


def _encode_bytes(data: bytes) -> bytes:
    """Return a training image as WebP. Raises NotAnImage."""
    return encode(reduced_image(data))


def why_refused(store: Store, name: str, roots: Roots) -> str:
    """Return why a verdict's image must not be read; "" if it is in the run or below a root."""
    if _is_outside(name):
        return roots.why_refused(name) and "outside the run; allow its directory with --input-root"
    try:
        store.location(name)
    except UnsafeName:
        return "not a name in the run"
    return ""


def _is_outside(name: str) -> bool:
    """Return whether verify --out stored an image outside the run."""
    return "://" in name or name.startswith("/")


def decode(data: bytes, side: int | None = None) -> Image.Image | None:
    """Decode an image, scaled down to at most ``side`` pixels wide and high.

    Returns None if it is damaged.
    """
    try:
        return open_image(data, side)
    except NotAnImage:
        return None


def read_stored(store: Store, name: str) -> bytes | None:
    """Return the bytes of an image that verify stored, of a larger file only the first ones; None
    if it no longer exists."""
    try:
        if not _is_outside(name):
            return store.read(name, IMAGE_BYTES)
        with open_input(name) as file:
            return file.read(IMAGE_BYTES + 1)
    except OSError as error:
        if is_transient(error):
            raise
        return None
