"""Measures on images that are similar, partly similar, or different by construction."""

import pytest
import torch
from torch import Tensor

from scanner.evidence.image_tensors import as_image, as_tensor
from scanner.evidence.verify.measures import (
    agreement,
    likeness,
    ms_ssim,
    tile_distance,
)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_identical_images_agree_and_random_ones_do_not() -> None:
    same = noise(0, 1, 3, 32, 32).repeat(4, 1, 1, 1)
    latents = noise(1, 1, 4, 8, 8).repeat(4, 1, 1, 1)
    found = agreement(same, latents)
    assert found.images == pytest.approx(1, abs=1e-4)
    assert found.noise == pytest.approx(1, abs=1e-4)
    assert (found.tile_distance, found.share) == (0, 1)
    other = agreement(noise(0, 4, 3, 32, 32), noise(1, 4, 4, 8, 8))
    assert other.images < 0.3
    assert other.noise < 0.5
    assert other.tile_distance > 0.3
    assert other.share < 0.1


def test_a_part_that_agrees_is_located() -> None:
    pictures = noise(0, 4, 3, 32, 32)
    pictures[:, :, :16] = noise(1, 3, 16, 32)
    found = agreement(pictures, noise(2, 4, 4, 8, 8))
    assert found.cells[:4].all()
    assert not found.cells[4:].any()
    assert found.share == pytest.approx(0.5)
    assert found.images < 0.8


def test_blank_images_have_no_agreeing_share() -> None:
    assert agreement(torch.ones(2, 3, 32, 32), noise(0, 2, 4, 8, 8)).share == 0


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (64, 96), (256, 192)])
def test_ms_ssim_works_at_all_common_sizes(size: tuple[int, int]) -> None:
    left = noise(0, 1, 3, *size)
    assert ms_ssim(left, left, 1.0)[0] == pytest.approx(1, abs=1e-4)
    assert ms_ssim(left, noise(1, 1, 3, *size), 1.0)[0] < 0.5


def test_tile_distance_detects_a_difference_in_one_corner() -> None:
    left, right = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    right[:, :, :8, :8] = 1
    assert tile_distance(left, right)[0] == pytest.approx(1)
    assert (left - right).square().mean().sqrt() < 0.3


def test_likeness_selects_the_training_image_and_its_part() -> None:
    training, other = as_image(noise(0, 3, 32, 32)), as_image(noise(1, 3, 32, 32))
    copies = as_tensor(training).repeat(3, 1, 1, 1)
    whole = likeness(copies, [other, training], torch.ones(8, 8, dtype=torch.bool))
    assert whole.reference == 1
    assert whole.whole == pytest.approx(1, abs=1e-4)
    assert whole.hash == 1
    half = copies.clone()
    half[:, :, 16:] = noise(2, 3, 3, 16, 32)
    cells = torch.zeros(8, 8, dtype=torch.bool)
    cells[:3] = True
    part = likeness(half, [other, training], cells)
    assert part.whole < 0.75
    assert part.part is not None
    assert part.part > 0.95
    assert likeness(half, [training], torch.zeros(8, 8, dtype=torch.bool)).part is None
