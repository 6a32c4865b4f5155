"""Statistics of the predicted noise. Shapes: B captions, C channels, H x W latent pixels."""

import torch
from torch import Tensor


def noise_norm(conditional_BCHW: Tensor, unconditional_BCHW: Tensor) -> Tensor:
    """‖ε_c − ε_∅‖₂ over the whole latent: (B,). Wen et al., ICLR 2024: their
    detection metric, of one step."""
    return difference_norm(conditional_BCHW.float() - unconditional_BCHW.float())


def difference_norm(difference_BCHW: Tensor) -> Tensor:
    """The same of ε_c − ε_∅: (B,), or (S, B) for S steps at once."""
    return difference_BCHW.float().flatten(-3).norm(dim=-1)


def noise_norm_mean(differences_SBCHW: Tensor) -> Tensor:
    """Mean over the steps of ‖ε_c − ε_∅‖₂: (B,). Wen et al., ICLR 2024: their metric, of all."""
    return difference_norm(differences_SBCHW).mean(0)


def low_noise_cosine(conditional_BCHW: Tensor, unconditional_BCHW: Tensor) -> Tensor:
    """Mean over pixels of cos(s_c − s_∅, s_∅) over the channels: (B,).

    The second part of the anisotropy of Asthana et al., ICLR 2026, at a step of low noise, on pure
    noise. The score s = −ε/√(1−ᾱ) has the direction of −ε; the signs cancel in the cosine.
    """
    unconditional = unconditional_BCHW.float().expand_as(conditional_BCHW)
    difference = conditional_BCHW.float() - unconditional
    return torch.cosine_similarity(difference, unconditional, dim=1).flatten(1).mean(1)


def anisotropy(
    noise_norm_B: Tensor, cosine_B: Tensor, alpha: float, weights: tuple[float, float]
) -> Tensor:
    """w_norm · ‖s_c − s_∅‖₂ + w_cos · cosine: (B,). Asthana et al., ICLR 2026.

    ``noise_norm_B``: of step 0, where ᾱ is ``alpha``; ``weights``: (norm, cosine).
    """
    return weights[0] * noise_norm_B / (1 - alpha) ** 0.5 + weights[1] * cosine_B


def bright_ending(differences_SBCHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Mean over the steps of ‖(ε_c − ε_∅) ∘ m‖₂ / mean(m): (B,). Chen et al., ICLR 2025.

    ``mask_BHW``: m, the end token's attention at the last step, resized to the latent.
    """
    masked = differences_SBCHW.float() * mask_BHW[:, None]
    return masked.flatten(2).norm(dim=2).mean(0) / mask_BHW.flatten(1).mean(1)
