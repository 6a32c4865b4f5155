"""Decode the images of data sets in bounded memory, and resize them to a model's input."""

import io
from typing import Any

from PIL import Image, UnidentifiedImageError

from scanner.captions.limits import IMAGE_BYTES, IMAGE_PIXELS

IMAGE_DATA_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
# Pillow's other formats are disabled: some run another program or follow references.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
TOO_LARGE = f"an image of more than {IMAGE_BYTES >> 20} MiB"


class NotAnImage(ValueError):
    """Bytes that cannot be decoded; ``kind`` is equal for all that fail for the same reason."""

    def __init__(self, kind: str, why: str = "") -> None:
        super().__init__(f"{kind}: {why}" if why else kind)
        self.kind = kind


def open_image(data: bytes, side: int | None = None) -> Image.Image:
    """Decode an image to RGB, scaled down to at most ``side`` pixels wide and high.

    Raises NotAnImage if the data is not in one of FORMATS, is damaged, or exceeds a limit. The
    declared size is checked before decoding.
    """
    if len(data) > IMAGE_BYTES:
        raise NotAnImage(TOO_LARGE)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > IMAGE_PIXELS:
                raise NotAnImage(f"an image of more than {IMAGE_PIXELS >> 20} Mi pixels")
            if side:
                # Decodes a huge JPEG at reduced size.
                image.draft("RGB", (side, side))
            decoded = image.convert("RGB")
    except NotAnImage:
        raise
    except UnidentifiedImageError:
        raise NotAnImage("not an image") from None
    except Image.DecompressionBombError:
        raise NotAnImage(f"an image of more than {IMAGE_PIXELS >> 20} Mi pixels") from None
    except Exception as error:  # Pillow's decoders raise errors of any kind on damaged bytes
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotAnImage("a damaged image", why) from error
    if side:
        decoded.thumbnail((side, side))
    return decoded


def image_bytes(value: Any) -> bytes | None:
    """Return the bytes of a column's value: bytes, or a Hugging Face record that holds them."""
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


def resize_and_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Scale an image to cover the size, and crop its center."""
    image = image.convert("RGB")
    scale = max(height / image.height, width / image.width)
    scaled = image.resize(
        (max(width, round(image.width * scale)), max(height, round(image.height * scale))),
        Image.Resampling.LANCZOS,
    )
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))
