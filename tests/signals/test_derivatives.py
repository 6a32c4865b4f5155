import pytest
import torch

from scanner.signals.derivatives import condition_jacobian, curvature, gradient_gap


def test_curvature_is_that_of_the_scores() -> None:
    """H = −J/√(1−ᾱ) and s = −ε/√(1−ᾱ), for linear predictions ε = Jx of 4 pixels."""
    torch.manual_seed(0)
    alpha, x = 0.36, torch.randn(4)
    with_caption, without = torch.randn(4, 4), torch.randn(4, 4)
    scale = (1 - alpha) ** 0.5
    scores = [-(jacobian @ x) / scale for jacobian in (with_caption, without)]
    hessians = [-jacobian / scale for jacobian in (with_caption, without)]
    expected = ((hessians[0] - hessians[1]) @ (scores[0] - scores[1])).norm()
    difference = (with_caption - without) @ x
    products = [(jacobian @ difference).view(1, 1, 2, 2) for jacobian in (with_caption, without)]
    assert curvature(*products, alpha).item() == pytest.approx(expected.item(), rel=1e-5)
    of_velocities = (products[0] - products[1]).norm()
    assert curvature(*products).item() == pytest.approx(of_velocities.item(), rel=1e-6)


def test_norms_are_per_caption_and_in_float32() -> None:
    ones = torch.tensor([1.0, 2.0], dtype=torch.float16).view(2, 1, 1, 1).expand(2, 4, 5, 5)
    assert condition_jacobian(ones).tolist() == [10.0, 20.0]
    large = 100 * ones  # the sum of squares overflows float16
    assert condition_jacobian(large).tolist() == [1000.0, 2000.0]


def test_gradient_gap_is_the_squared_distance() -> None:
    gradients = torch.zeros(2, 1, 2, 2)
    gradients[1, 0, 0] = torch.tensor([3.0, 4.0])
    assert gradient_gap(gradients, torch.zeros(1, 1, 2, 2)).tolist() == [0.0, 25.0]
