"""Pictures as data sets hold them, opened in bounded memory, and as a model takes them."""

import io
from typing import Any

from PIL import Image, UnidentifiedImageError

from scanner.captions.limits import IMAGE_BYTES, IMAGE_PIXELS

PICTURE_NAMES = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
# No other format is tried: some run another program, or follow references.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
TOO_LONG = f"an image of more than {IMAGE_BYTES >> 20} MiB"


class NotAPicture(ValueError):
    """Bytes that cannot be shown; ``kind`` is the same for all that fail alike."""

    def __init__(self, kind: str, why: str = "") -> None:
        super().__init__(f"{kind}: {why}" if why else kind)
        self.kind = kind


def open_picture(data: bytes, side: int | None = None) -> Image.Image:
    """Decode an image to RGB, scaled down to at most ``side`` pixels wide and high.

    Raises NotAPicture for what is not an image of FORMATS, is damaged, or exceeds a limit, which
    its declared size tells before it is decoded.
    """
    if len(data) > IMAGE_BYTES:
        raise NotAPicture(TOO_LONG)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > IMAGE_PIXELS:
                raise NotAPicture(f"an image of more than {IMAGE_PIXELS >> 20} Mi pixels")
            if side:
                # A huge JPEG is decoded small; anything is kept small.
                image.draft("RGB", (side, side))
            picture = image.convert("RGB")
    except NotAPicture:
        raise
    except UnidentifiedImageError:
        raise NotAPicture("not an image") from None
    except Image.DecompressionBombError:
        raise NotAPicture(f"an image of more than {IMAGE_PIXELS >> 20} Mi pixels") from None
    except Exception as error:  # Pillow's decoders raise errors of any kind on damaged bytes
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotAPicture("a damaged image", why) from error
    if side:
        picture.thumbnail((side, side))
    return picture


def picture_bytes(value: Any) -> bytes | None:
    """Of a column's value: bytes, or a record with bytes (Hugging Face)."""
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


def fitted(image: Image.Image, height: int, width: int) -> Image.Image:
    """An image scaled until it covers the size, and cut to its middle."""
    image = image.convert("RGB")
    scale = max(height / image.height, width / image.width)
    scaled = image.resize(
        (max(width, round(image.width * scale)), max(height, round(image.height * scale))),
        Image.Resampling.LANCZOS,
    )
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))
