"""Structural similarity against a plain loop over windows, in float64."""

import math

import numpy as np
import pytest
import torch

from scanner.signals.seed_agreement import SIDE, denoised_pattern, ms_ssim, ssim

Image = np.ndarray


def _terms(first: Image, second: Image, size: int) -> tuple[Image, Image]:
    """Return SSIM and its contrast term at every window of one channel."""
    middle = (size - 1) / 2
    weights = np.array(
        [
            [
                math.exp(-((row - middle) ** 2 + (column - middle) ** 2) / 4.5)
                for column in range(size)
            ]
            for row in range(size)
        ]
    )
    weights /= weights.sum()
    rows, columns = (side - size + 1 for side in first.shape)
    similarity, contrast = np.empty((rows, columns)), np.empty((rows, columns))
    for row, column in np.ndindex(rows, columns):
        a, b = (one[row : row + size, column : column + size] for one in (first, second))
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
        variances = (weights * (a - mean_a) ** 2 + weights * (b - mean_b) ** 2).sum()
        contrast[row, column] = (2 * covariance + 9e-4) / (variances + 9e-4)
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        similarity[row, column] = luminance * contrast[row, column]
    return similarity, contrast


def _halved(image: Image) -> Image:
    rows, columns = (side // 2 for side in image.shape)
    return image[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean((1, 3))


def plain_ms_ssim(first: Image, second: Image) -> float:
    """MS-SSIM of images (C, H, W) at three scales."""
    product = 1.0
    for scale in range(3):
        terms = [_terms(a, b, 11) for a, b in zip(first, second, strict=True)]
        mean = np.mean([one[0 if scale == 2 else 1] for one in terms])
        product *= max(mean, 0) ** (1 / 3)
        first, second = (np.stack([_halved(one) for one in image]) for image in (first, second))
    return float(product)


def plain_ssim(first: Image, second: Image) -> float:
    """SSIM of images (C, H, W), windows of 7."""
    return float(np.mean([_terms(a, b, 7)[0] for a, b in zip(first, second, strict=True)]))


def _images(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(side)
    first = torch.rand((2, 3, side, side + 3), generator=generator)
    noise = torch.rand(first.shape, generator=generator)
    return first, (0.6 * first + 0.4 * noise)


@pytest.mark.parametrize("side", [SIDE, 47])
def test_ms_ssim_equals_the_plain_loop(side: int) -> None:
    first, second = _images(side)
    expected = [
        plain_ms_ssim(a.double().numpy(), b.double().numpy())
        for a, b in zip(first, second, strict=True)
    ]
    assert 0.2 < expected[0] < 0.99
    assert ms_ssim(first, second).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("side", [7, 8, 16])
def test_ssim_equals_the_plain_loop(side: int) -> None:
    first, second = _images(side)
    expected = [
        plain_ssim(a.double().numpy(), b.double().numpy())
        for a, b in zip(first, second, strict=True)
    ]
    assert ssim(first, second).tolist() == pytest.approx(expected, abs=1e-5)


def test_equal_images_agree_and_noise_does_not() -> None:
    image, _ = _images(64)
    other, _ = _images(65)
    assert ms_ssim(image, image).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert ms_ssim(image, other[:, :, :64, :67]).max() < 0.2
    assert ms_ssim(image, 1 - image).tolist() == [0, 0], "negative terms are cut at 0"


def test_patterns_are_scaled_per_channel_and_caption() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, x = (torch.randn((2, 3, 4, 4), generator=generator) for _ in range(2))
    pattern = denoised_pattern(prediction, x[:1])
    for caption, channel in np.ndindex(2, 3):
        delta = (prediction[caption] - x[0])[channel]
        expected = (delta - delta.min()) / (delta.max() - delta.min())
        assert torch.allclose(pattern[caption, channel], expected)
    assert denoised_pattern(x[:1], x[:1]).tolist() == torch.zeros(1, 3, 4, 4).tolist()
