import pytest
import torch

from scanner.signals.noise import noise_norm


def test_noise_norm_is_the_length_of_the_difference_over_the_whole_latent() -> None:
    conditional = torch.zeros(2, 4, 2, 2)
    conditional[0, :, 0, 0] = 3.0
    conditional[1] = 1.0
    assert noise_norm(conditional, torch.zeros(1, 4, 2, 2)).tolist() == pytest.approx([6.0, 4.0])
