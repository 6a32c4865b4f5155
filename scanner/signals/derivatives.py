"""Statistics of the denoiser's derivatives, from Jacobian-vector products and gradients.

Shapes: B captions, C channels, H x W latent pixels. J_c and J_∅ are the Jacobians of ε_c and ε_∅
(flow matching: of v_c and v_∅) with respect to the latent x.
"""

from torch import Tensor


def curvature(
    conditional_BCHW: Tensor, unconditional_BCHW: Tensor, alpha: float | None = None
) -> Tensor:
    """Return ‖(H_c − H_∅)(s_c − s_∅)‖₂: (B,). Jeon et al., ICML 2025.

    ``conditional_BCHW``: J_c (ε_c − ε_∅); ``unconditional_BCHW``: J_∅ (ε_c − ε_∅). With the score
    s = −ε/√(1−ᾱ) and its Jacobian H = −J/√(1−ᾱ), the norm of their difference is divided by 1 − ᾱ;
    ``alpha`` is ᾱ, None for velocities, which are not scaled.
    """
    difference_BCHW = conditional_BCHW.float() - unconditional_BCHW.float()
    scale = 1.0 if alpha is None else 1 - alpha
    return difference_BCHW.flatten(1).norm(dim=1) / scale


def condition_jacobian(derivative_BCHW: Tensor) -> Tensor:
    """Return ‖∂ε_c/∂c · (c − c_∅)‖₂: (B,).

    ``derivative_BCHW``: the derivative of ε_c at the caption's text conditioning c, along its
    difference from the empty caption's. The direction is not normalized, so to first order this is
    ‖ε_c − ε_∅‖₂ without a forward of the empty caption.
    """
    return derivative_BCHW.float().flatten(1).norm(dim=1)


def gradient_gap(conditional_BCHW: Tensor, unconditional_BCHW: Tensor) -> Tensor:
    """Return ‖∇ₓ ½‖ε_c‖² − ∇ₓ ½‖ε_∅‖²‖²: (B,), squared as in the code that introduces it.

    ``conditional_BCHW``: ∇ₓ ½‖ε_c‖² = J_cᵀ ε_c; ``unconditional_BCHW``: J_∅ᵀ ε_∅, of batch 1 or B.
    """
    return (conditional_BCHW.float() - unconditional_BCHW.float()).flatten(1).square().sum(1)
