"""Convert the generated image, and overlay each word's attention on it."""

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

TILE_PIXELS = 192
MIN_PIXELS = 384
# Opacity of the color at the maximum of a heat map; 0 at its minimum.
OPACITY = 0.75
STOPS = np.array([[68, 1, 84], [33, 145, 140], [253, 231, 37]], dtype=float)  # viridis


def to_image(picture_3HW: Tensor) -> Image.Image:
    """Convert values in [0, 1] to an image of at least ``MIN_PIXELS`` on each side."""
    pixels = (picture_3HW.movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels)
    factor = max(1.0, MIN_PIXELS / min(image.size))
    return image.resize((round(image.width * factor), round(image.height * factor)))


def overlay(picture: Image.Image, heat_HW: Tensor) -> Image.Image:
    """Overlay a heat map, scaled from its minimum to its maximum, on a gray copy of the image."""
    heat = heat_HW.numpy()
    span = heat.max() - heat.min()
    level = (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)
    small = picture.copy()
    small.thumbnail((TILE_PIXELS, TILE_PIXELS))
    resized = Image.fromarray(level.astype(np.float32)).resize(small.size, Image.Resampling.BICUBIC)
    level = np.asarray(resized).clip(0, 1)[..., None]
    stops = np.linspace(0, 1, len(STOPS))
    color = np.concatenate([np.interp(level, stops, STOPS[:, band]) for band in range(3)], -1)
    gray = np.asarray(small.convert("L").convert("RGB"), dtype=float)
    weight = OPACITY * level
    return Image.fromarray(((1 - weight) * gray + weight * color).round().astype(np.uint8))


def data_url(image: Image.Image) -> str:
    """Return the image as a data URL."""
    with io.BytesIO() as file:
        image.convert("RGB").save(file, "WEBP", quality=85)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
