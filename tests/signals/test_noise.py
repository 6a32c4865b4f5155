import pytest
import torch

from scanner.signals.noise import (
    noise_norm,
    noise_norm_mean,
    score_change,
    velocity_cosine,
)


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


def test_the_velocity_cosine_is_of_the_raw_predictions() -> None:
    torch.manual_seed(0)
    alpha, x = 0.7, torch.randn(1, 4, 3, 3)
    with_caption, without = torch.randn(2, 4, 3, 3), torch.randn(1, 4, 3, 3)  # v-predictions
    noises = [alpha**0.5 * v + (1 - alpha) ** 0.5 * x for v in (with_caption, without)]
    cosines = torch.cosine_similarity(with_caption - without, without, dim=1)
    expected = cosines.mean((1, 2)).tolist()
    assert velocity_cosine(*noises, x, alpha).tolist() == pytest.approx(expected, abs=1e-5)


def test_score_change_is_the_distance_of_two_predictions() -> None:
    second = torch.zeros(2, 4, 2, 2)
    second[1, :, 0, 0] = 3.0
    assert score_change(torch.zeros(2, 4, 2, 2), second).tolist() == [0.0, 6.0]
