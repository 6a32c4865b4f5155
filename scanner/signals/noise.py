"""Statistics of the predicted noise.

Shapes: B captions, S steps, C channels, H x W latent pixels.
"""

import torch
from torch import Tensor


def noise_norm(conditional_BCHW: Tensor, unconditional_BCHW: Tensor) -> Tensor:
    """Return ‖ε_c − ε_∅‖₂ over the whole latent: (B,). Wen et al., ICLR 2024: their detection
    metric at one step."""
    return difference_norm(conditional_BCHW.float() - unconditional_BCHW.float())


def difference_norm(difference_BCHW: Tensor) -> Tensor:
    """Return the norm of a difference ε_c − ε_∅: (B,), or (S, B) for S steps."""
    return difference_BCHW.float().flatten(-3).norm(dim=-1)


def noise_norm_mean(differences_SBCHW: Tensor) -> Tensor:
    """Return the mean of ‖ε_c − ε_∅‖₂ over the steps: (B,). Wen et al., ICLR 2024."""
    return difference_norm(differences_SBCHW).mean(0)


def mean_cosine(conditional_BCHW: Tensor, unconditional_BCHW: Tensor) -> Tensor:
    """Return the mean over pixels of cos(s_c − s_∅, s_∅), taken over the channels: (B,).

    The second term of the anisotropy of Asthana et al., ICLR 2026: pure noise as input, at a
    low-noise step. The score s = −ε/√(1−ᾱ) has the direction of −ε; the signs cancel.
    """
    unconditional = unconditional_BCHW.float().expand_as(conditional_BCHW)
    difference = conditional_BCHW.float() - unconditional
    return torch.cosine_similarity(difference, unconditional, dim=1).flatten(1).mean(1)


def velocity_cosine(
    conditional_BCHW: Tensor, unconditional_BCHW: Tensor, x_BCHW: Tensor, alpha: float
) -> Tensor:
    """Return the mean over pixels of cos(v_c − v_∅, v_∅), taken over the channels: (B,).

    The second term of the anisotropy in the released code of Asthana et al. for Stable Diffusion 2,
    which uses the raw v-predictions. v = (ε − √(1−ᾱ) x)/√ᾱ; the cosine does not see the factor.
    ``alpha``: ᾱ; ``x_BCHW``: the latents that the predictions are of.
    """
    of_x_BCHW = (1 - alpha) ** 0.5 * x_BCHW.float()
    return mean_cosine(conditional_BCHW - of_x_BCHW, unconditional_BCHW - of_x_BCHW)


def score_change(first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
    """Return ‖ε_c(x₁, t₁) − ε_c(x₀, t₀)‖₂: (B,), where x₁ is one guided step after x₀.

    The code that introduces it gives the square, which ranks the captions of one seed alike.
    """
    return difference_norm(second_BCHW.float() - first_BCHW.float())


def anisotropy(
    noise_norm_B: Tensor, cosine_B: Tensor, alpha: float, weights: tuple[float, float]
) -> Tensor:
    """Return w_norm · ‖s_c − s_∅‖₂ + w_cos · cosine: (B,). Asthana et al., ICLR 2026.

    ``noise_norm_B``: at step 0, where ᾱ is ``alpha``; ``weights``: (w_norm, w_cos).
    """
    return weights[0] * noise_norm_B / (1 - alpha) ** 0.5 + weights[1] * cosine_B


def bright_ending(differences_SBCHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Return the mean over the steps of ‖(ε_c − ε_∅) ∘ m‖₂ / mean(m): (B,). Chen et al., ICLR 2025.

    ``mask_BHW``: m, the EOS token's attention at the last step, resized to the latent.
    """
    masked = differences_SBCHW.float() * mask_BHW[:, None]
    return masked.flatten(2).norm(dim=2).mean(0) / mask_BHW.flatten(1).mean(1)
