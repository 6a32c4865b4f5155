"""Fit images into a number of bytes, as large as they fit."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

# Of the longer side, in pixels.
SIDES = (512, 448, 384, 320, 272, 224, 192, 160, 128, 96)
QUALITY = 80
# Each image's element on the page besides its data.
ELEMENT_BYTES = 250
# Images that a side is estimated from.
TRIED = 40


def encode(image: Image.Image, side: int = SIDES[0]) -> bytes:
    """Encode an image as WebP, scaled down in place to at most ``side`` pixels wide and high."""
    image.thumbnail((side, side))
    with io.BytesIO() as file:
        image.save(file, "WEBP", quality=QUALITY)
        return file.getvalue()


def data_url(encoded: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(encoded).decode()


def page_bytes(encoded: bytes) -> int:
    """Return the bytes that an encoded image takes on a page."""
    return ELEMENT_BYTES + 4 * -(-len(encoded) // 3)


def fit_side(images: Sequence[bytes], most_bytes: int) -> tuple[int, list[bytes]]:
    """Return the largest of SIDES with which encoded images fit a page's ``most_bytes``, and the
    images of that size; with the smallest they may be more.

    Each side is first tried on some of the images, since most of the time goes into encoding.
    """
    some = images[:: max(1, len(images) // TRIED)]
    for side in SIDES[:-1]:
        tried = sum(page_bytes(_resize(image, side)) for image in some)
        if tried * len(images) <= most_bytes * len(some):
            fitted = [_resize(image, side) for image in images]
            if sum(map(page_bytes, fitted)) <= most_bytes:
                return side, fitted
    return SIDES[-1], [_resize(image, SIDES[-1]) for image in images]


def _resize(encoded: bytes, side: int) -> bytes:
    """Return an image of ours at most ``side`` pixels wide and high."""
    with Image.open(io.BytesIO(encoded), formats=("WEBP",)) as image:
        return encoded if max(image.size) <= side else encode(image, side)
