"""How much better a model denoises an image with its caption than without.

Shapes: B pairs of a caption and an image, C channels, H x W latent pixels.
"""

from torch import Tensor


def denoising_error(target_BCHW: Tensor, predicted_BCHW: Tensor) -> Tensor:
    """Return ‖ε − ε_θ(x_t)‖² over the whole latent: (B,); of flow matching ‖v − v_θ(x_t)‖², with
    the target v = ε − x₀."""
    return (target_BCHW.float() - predicted_BCHW.float()).square().flatten(1).sum(1)


def conditional_discrepancy(unconditional_B: Tensor, conditional_B: Tensor) -> Tensor:
    """Return ‖ε − ε_∅‖² − ‖ε − ε_c‖² of denoising errors: (B,), or any other shape.

    Zhai et al., NeurIPS 2024 (arXiv 2405.14800): the conditional likelihood discrepancy of one
    noise and noise level; ``clid`` is its mean over noises and levels.
    """
    return unconditional_B - conditional_B
