"""The generated picture, and where in it the model looks for each word."""

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

TILE = 192
PICTURE = 384
# A heat map's strongest place is seen through this much colour, its weakest through none.
STRONGEST = 0.75
STOPS = np.array([[68, 1, 84], [33, 145, 140], [253, 231, 37]], dtype=float)  # viridis


def picture_of(picture_3HW: Tensor) -> Image.Image:
    """Values in [0, 1] as a picture of at least ``PICTURE`` pixels a side."""
    pixels = (picture_3HW.movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels)
    factor = max(1.0, PICTURE / min(image.size))
    return image.resize((round(image.width * factor), round(image.height * factor)))


def overlay(picture: Image.Image, heat_HW: Tensor) -> Image.Image:
    """A heat map over a grey copy of the picture, scaled from its own least to its own most."""
    heat = heat_HW.numpy()
    span = heat.max() - heat.min()
    level = (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)
    small = picture.copy()
    small.thumbnail((TILE, TILE))
    grown = Image.fromarray(level.astype(np.float32)).resize(small.size, Image.Resampling.BICUBIC)
    level = np.asarray(grown).clip(0, 1)[..., None]
    places = np.linspace(0, 1, len(STOPS))
    colour = np.concatenate([np.interp(level, places, STOPS[:, band]) for band in range(3)], -1)
    under = np.asarray(small.convert("L").convert("RGB"), dtype=float)
    weight = STRONGEST * level
    return Image.fromarray(((1 - weight) * under + weight * colour).round().astype(np.uint8))


def data_url(image: Image.Image) -> str:
    """The picture inside the page."""
    with io.BytesIO() as file:
        image.convert("RGB").save(file, "WEBP", quality=85)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
