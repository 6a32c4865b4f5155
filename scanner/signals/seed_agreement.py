"""Agreement of predictions from different initial noises (Hintersdorf et al., NeurIPS 2024).

Shapes: B captions, C channels, H x W latent pixels, K x K windows.
"""

import math

import torch
from torch import Tensor

WINDOW = 11
SMALL_WINDOW = 7
SCALES = 3
SIDE = WINDOW * 2 ** (SCALES - 1)
"""The smallest latent side: at the coarsest scale, one window must fit."""
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def denoised_pattern(prediction_BCHW: Tensor, x_1CHW: Tensor) -> Tensor:
    """Return δ = ε_c(x_s) − x_s, each channel scaled to 0 … 1 by its minimum and maximum.

    If seeds disagree, δ is noise; if the caption is memorized, it shows one image.
    """
    delta_BCHW = prediction_BCHW.float() - x_1CHW.float()
    low, high = (delta_BCHW.amin((2, 3), keepdim=True), delta_BCHW.amax((2, 3), keepdim=True))
    return (delta_BCHW - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)


def ms_ssim(first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
    """Return the multi-scale structural similarity of images in 0 … 1: (B,). Wang et al. 2003.

    Three scales with exponents ⅓; Gaussian windows of 11 (σ = 1.5); each scale's contrast term, and
    the coarsest scale's SSIM, averaged over pixels and channels and cut at 0. Sides: at least SIDE.
    """
    product_B = torch.ones(len(first_BCHW), device=first_BCHW.device)
    for scale in range(SCALES):
        ssim_BCHW, contrast_BCHW = _similarity(first_BCHW, second_BCHW, WINDOW)
        is_last = scale == SCALES - 1
        term_B = (ssim_BCHW if is_last else contrast_BCHW).flatten(1).mean(1)
        product_B = product_B * term_B.clamp_min(0) ** (1 / SCALES)
        first_BCHW, second_BCHW = (
            torch.nn.functional.avg_pool2d(image, 2) for image in (first_BCHW, second_BCHW)
        )
    return product_B


def ssim(first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
    """Return the structural similarity of images in 0 … 1, of sides from SMALL_WINDOW: (B,).

    Wang et al. 2004, with Gaussian windows of 7 (σ = 1.5), averaged over pixels and channels.
    """
    return _similarity(first_BCHW, second_BCHW, SMALL_WINDOW)[0].flatten(1).mean(1)


def _similarity(first: Tensor, second: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return SSIM and its contrast-structure term at every whole window, for images in 0 … 1."""
    mean_1, mean_2 = _blurred(first, window), _blurred(second, window)
    variance_1 = _blurred(first * first, window) - mean_1**2
    variance_2 = _blurred(second * second, window) - mean_2**2
    covariance = _blurred(first * second, window) - mean_1 * mean_2
    contrast = (2 * covariance + _K2**2) / (variance_1 + variance_2 + _K2**2)
    luminance = (2 * mean_1 * mean_2 + _K1**2) / (mean_1**2 + mean_2**2 + _K1**2)
    return luminance * contrast, contrast


def _blurred(image_BCHW: Tensor, window: int) -> Tensor:
    """Return Gaussian-weighted means over whole windows: (B, C, H − K + 1, W − K + 1)."""
    offset = [position - (window - 1) / 2 for position in range(window)]
    weights = [math.exp(-0.5 * (one / _SIGMA) ** 2) for one in offset]
    gauss_K = torch.tensor(weights, device=image_BCHW.device) / sum(weights)
    flat = image_BCHW.flatten(0, 1)[:, None]
    flat = torch.nn.functional.conv2d(flat, gauss_K.view(1, 1, -1, 1))
    flat = torch.nn.functional.conv2d(flat, gauss_K.view(1, 1, 1, -1))
    return flat[:, 0].unflatten(0, image_BCHW.shape[:2])
