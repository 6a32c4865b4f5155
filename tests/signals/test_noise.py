import pytest
import torch

from scanner.signals.noise import noise_norm, noise_norm_mean


def test_noise_norm_is_the_norm_over_the_whole_latent() -> None:
    conditional = torch.zeros(2, 4, 2, 2)
    conditional[0, :, 0, 0] = 3.0
    conditional[1] = 1.0
    assert noise_norm(conditional, torch.zeros(1, 4, 2, 2)).tolist() == pytest.approx([6.0, 4.0])


def test_noise_norm_mean_averages_the_steps_per_caption() -> None:
    differences = torch.zeros(2, 3, 4, 2, 2)
    differences[0, 0] = 1.0
    differences[1, 1] = 3.0
    assert noise_norm_mean(differences).tolist() == [2.0, 6.0, 0.0]
