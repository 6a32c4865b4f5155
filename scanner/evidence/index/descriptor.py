"""The built-in image descriptor: colors and edges on a coarse grid, without a learned model.

It finds copies of an image, also resized, recompressed or slightly blurred. Crops, mirror images
and pasted parts need a learned copy-detection embedding.
"""

import hashlib
import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

NAME = "memscan-descriptor-1"
"""Name and version: vectors of different versions are never compared."""
SHA256 = hashlib.sha256(NAME.encode()).hexdigest()
SIDE = 64
COLOR_GRID = 8
EDGE_GRID = 4
ORIENTATIONS = 8
DIMENSION = 3 * COLOR_GRID**2 + ORIENTATIONS * EDGE_GRID**2
LUMA = (0.299, 0.587, 0.114)


def describe(images_N3HW: Tensor) -> Tensor:
    """Return unit vectors (N, DIMENSION) of square RGB images in [0, 1].

    Half of a vector's squared norm is color: the mean of each cell of an 8 × 8 grid, minus the mean
    of the image. The other half is edges: in each cell of a 4 × 4 grid, a histogram of gradient
    orientations (unsigned, 8 bins, linearly interpolated) weighted by gradient magnitude, of which
    the square root is taken (as in Dalal and Triggs 2005, without their block normalization). An
    image of a single color has only zeros.
    """
    color = adaptive_avg_pool2d(images_N3HW, COLOR_GRID)
    color_NF = (color - color.mean((2, 3), keepdim=True)).flatten(1)
    edges_NF = _orientations(images_N3HW).clamp(min=0).sqrt().flatten(1)
    both = torch.cat([normalize(color_NF, dim=1), normalize(edges_NF, dim=1)], 1)
    return normalize(both, dim=1)


def _orientations(images_N3HW: Tensor) -> Tensor:
    """Return the histograms of gradient orientations: (N, ORIENTATIONS, EDGE_GRID, EDGE_GRID)."""
    weights = torch.tensor(LUMA, device=images_N3HW.device)[:, None, None]
    luma_NHW = (images_N3HW * weights).sum(1)
    across = luma_NHW[:, 1:-1, 2:] - luma_NHW[:, 1:-1, :-2]
    down = luma_NHW[:, 2:, 1:-1] - luma_NHW[:, :-2, 1:-1]
    size = torch.hypot(across, down)
    place = torch.remainder(torch.atan2(down, across), math.pi) * (ORIENTATIONS / math.pi)
    bins = torch.arange(ORIENTATIONS, device=place.device)[:, None, None]
    # Distance to each bin on the circle of orientations.
    apart = (place[:, None] - bins).abs()
    apart = torch.minimum(apart, ORIENTATIONS - apart)
    return adaptive_avg_pool2d((1 - apart).clamp(min=0) * size[:, None], EDGE_GRID)
