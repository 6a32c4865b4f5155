"""Thumbnails of verified captions: generated images and the training image."""

import base64
import io
import logging
from collections.abc import Sequence
from typing import Any

from PIL import Image

from scanner.captions.images import NotAnImage, open_image
from scanner.captions.limits import IMAGE_BYTES
from scanner.evidence.training_images.sample_images import Sample, SampleImages
from scanner.run.directory import recorded_roots
from scanner.run.verdicts import OTHER
from scanner.storage import Roots, Store, UnsafeName, is_transient, open_input

log = logging.getLogger("memscan.report")

SIDE = 72
SEEDS = 2
PROBLEMS = 3
Row = dict[str, Any]


def image_roots(record: dict[str, Any], input_roots: Sequence[str]) -> Roots:
    """Return where a page may read images besides the run itself: local files below the scan's
    --captions, and anything below ``input_roots``. URLs named by the run are not fetched."""
    local = [url for url in recorded_roots(record) if "://" not in url or url.startswith("file://")]
    return Roots.of(local, input_roots)


def make_thumbnails(
    store: Store, rows: Sequence[Row], limit: int, roots: Roots
) -> dict[str, dict[str, Any]]:
    """Return by caption id ``generated`` (one data URL per seed), ``training`` (one, or None) and
    ``source``: the training image of other captions that they match (one, or None).

    Covers the first ``limit`` rows with a verdict, to keep the page small. Images outside the run
    that are not below ``roots`` are refused and logged.
    """
    chosen = [row for row in rows if row["images"]][:limit]
    references = SampleImages(None, None, roots)
    training = _images(references, chosen, "reference_source", "reference_row", "reference_key")
    foreign = [row for row in chosen if row.get("source_match") == OTHER]
    sources = _images(references, foreign, "source_file", "source_row", "source_sample_key")
    thumbnails = {}
    refused: list[str] = []
    for row in chosen:
        generated = []
        for name in row["images"][:SEEDS]:
            if why := why_refused(store, name, roots):
                refused.append(f"{name!r} ({why})")
            else:
                generated.append(open_stored(store, name))
        thumbnails[row["caption_id"]] = {
            "generated": [_data_url(image) for image in generated if image],
            "training": training.get(row["caption_id"]),
            "source": sources.get(row["caption_id"]),
        }
    if refused:
        log.warning(f"{len(refused):,} images of verdicts refused, such as {refused[0]}")
    for why, count in references.problems.most_common(PROBLEMS):
        log.warning(f"{count:,} training images not shown: {why}")
    return thumbnails


def _images(
    references: SampleImages, rows: Sequence[Row], source: str, number: str, key: str
) -> dict[str, str]:
    """Return data URLs of training images by caption id; ``source``, ``number``, ``key``: the
    columns with their place and their sample's key."""
    placed = [row for row in rows if row[source] is not None]
    samples: list[Sample] = [
        {"source": row[source], "row": row[number], "key": row.get(key)} for row in placed
    ]
    images = zip(placed, references.images(samples), strict=True)
    return {row["caption_id"]: _data_url(image) for row, image in images if image}


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


def open_stored(store: Store, name: str) -> Image.Image | None:
    """Open an image that verify stored in the run or elsewhere; None if it no longer exists."""
    data = read_stored(store, name)
    return None if data is None else decode(data)


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


def _data_url(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    with io.BytesIO() as file:
        small.save(file, "WEBP", quality=80)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
