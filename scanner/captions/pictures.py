"""Pictures as data sets hold them, and as a model of a fixed size takes them."""

from typing import Any

from PIL import Image

PICTURE_NAMES = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")


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
