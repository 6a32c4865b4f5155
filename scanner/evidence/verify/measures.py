"""Similarity measures: among the images of several seeds, and to training images.

Shapes: S seeds, C channels, H × W pixels or latents, R training images; images are in [0, 1].
"""

from dataclasses import dataclass
from itertools import combinations

import imagehash
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from scanner.captions.images import resize_and_crop
from scanner.evidence.image_tensors import as_image, as_tensor

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, table of scales
TILES = 4
CELLS = 8
AGREES = 0.1
TEXTURED = 0.05
HASH_BITS = 64


@dataclass(frozen=True)
class Agreement:
    """Similarity of the seeds' images without a reference, averaged over pairs of seeds.

    ``images``, ``noise``: multi-scale SSIM (1: identical) of the images, and of the noise
    differences ε_c − ε_∅ (or v_c − v_∅) at the first step. ``tile_distance``: RMSE of the most
    different tile (the tiled l2 of Carlini et al. 2023, as root mean square over pixels).
    ``cells``: (8, 8), which cells agree across seeds; ``share``: share of textured cells that
    agree.
    """

    images: float
    noise: float
    tile_distance: float
    cells: Tensor
    share: float


def agreement(images_SCHW: Tensor, noise_SCHW: Tensor) -> Agreement:
    """Measure the agreement of at least two seeds."""
    left, right = pairs(images_SCHW)
    first, second = pairs(noise_SCHW)
    cells = _cells(images_SCHW.std(0, unbiased=False).square()).sqrt() < AGREES
    textured = _textured(images_SCHW.mean(0))
    share = (cells & textured).sum() / textured.sum() if textured.any() else torch.tensor(0.0)
    return Agreement(
        images=float(ms_ssim(left, right, 1.0).mean()),
        noise=float(ms_ssim(first, second, float(noise_SCHW.max() - noise_SCHW.min())).mean()),
        tile_distance=float(tile_distance(left, right).mean()),
        cells=cells,
        share=float(share),
    )


def pairs(x_S: Tensor) -> tuple[Tensor, Tensor]:
    """Return all pairs of S entries, as two batches."""
    both = list(combinations(range(len(x_S)), 2))
    return x_S[[a for a, _ in both]], x_S[[b for _, b in both]]


def ms_ssim(left_NCHW: Tensor, right_NCHW: Tensor, data_range: float) -> Tensor:
    """Return the multi-scale SSIM of N pairs (N,), with as many scales as the size allows."""
    size = min(left_NCHW.shape[-2:])
    kernel = next((k for k in (11, 7, 3) if size >= 4 * k), 3)
    scales = max(s for s in range(1, 6) if size > (kernel - 1) * max(1, s - 1) ** 2)
    weights = torch.tensor(BETAS[:scales])
    similarity = multiscale_structural_similarity_index_measure(
        left_NCHW,
        right_NCHW,
        sigma=(kernel - 1) / 2 / 3.5,
        kernel_size=kernel,
        reduction="none",
        data_range=max(data_range, 1e-12),
        betas=tuple((weights / weights.sum()).tolist()),
        normalize="relu",
    )
    return similarity.reshape(-1)


def tile_distance(left_NCHW: Tensor, right_NCHW: Tensor) -> Tensor:
    """Return the RMSE of the most different tile of a 4 × 4 grid, for N pairs (N,)."""
    squares = (left_NCHW - right_NCHW).square().mean(1, keepdim=True)
    return torch.nn.functional.adaptive_avg_pool2d(squares, TILES).flatten(1).amax(1).sqrt()


@dataclass(frozen=True)
class Likeness:
    """Similarity of the seeds' images to the nearest training image, averaged over seeds.

    ``whole``, ``part``: SSIM of the whole image, and over the cells that agree across seeds (None
    without any). ``hash``: share of equal bits of the perceptual hash. ``reference``: index of the
    training image.
    """

    whole: float
    part: float | None
    hash: float
    reference: int


def likeness(images_SCHW: Tensor, references: list[Image.Image], cells: Tensor) -> Likeness:
    """Measure the likeness to each training image, cropped as for training; return the highest."""
    height, width = images_SCHW.shape[-2:]
    results = []
    hashes = [imagehash.phash(as_image(image)) for image in images_SCHW]
    for number, reference in enumerate(references):
        cropped = resize_and_crop(reference, height, width)
        target = as_tensor(cropped).expand_as(images_SCHW)
        ssim, map_SCHW = structural_similarity_index_measure(
            images_SCHW,
            target,
            sigma=1.5 if min(height, width) >= 44 else 6 / 7,
            reduction="none",
            data_range=1.0,
            return_full_image=True,
        )
        by_cell = _cells(map_SCHW.mean(0))
        target_hash = imagehash.phash(cropped)
        results.append(
            Likeness(
                whole=float(ssim.mean()),
                part=float(by_cell[cells].mean()) if cells.any() else None,
                hash=1 - sum(one - target_hash for one in hashes) / HASH_BITS / len(hashes),
                reference=number,
            )
        )
    return max(results, key=lambda result: result.whole)


def _cells(map_CHW: Tensor) -> Tensor:
    """Return means over channels and an 8 × 8 grid of cells: (8, 8)."""
    return torch.nn.functional.adaptive_avg_pool2d(map_CHW, CELLS).mean(0)


def _textured(picture_CHW: Tensor) -> Tensor:
    """Return which cells are not blank; blank cells agree for any image."""
    mean = torch.nn.functional.adaptive_avg_pool2d(picture_CHW, CELLS)
    square = torch.nn.functional.adaptive_avg_pool2d(picture_CHW.square(), CELLS)
    within = (square - mean.square()).clamp(min=0).mean(0).sqrt()
    # A flat cell in another color than the background (the median) is not blank.
    background = mean.flatten(1).median(1).values[:, None, None]
    return (within > TEXTURED) | ((mean - background).square().mean(0).sqrt() > TEXTURED)
