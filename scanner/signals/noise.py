"""Statistics of the predicted noise. Shapes: B captions, C channels, H x W latent pixels."""

import torch
from torch import Tensor


def noise_norm(conditional_BCHW: Tensor, unconditional_BCHW: Tensor) -> Tensor:
    """‖ε_c − ε_∅‖₂ over the whole latent: (B,). Wen et al., ICLR 2024: their
    detection metric, of one step."""
    difference = conditional_BCHW.float() - unconditional_BCHW.float()
    return torch.linalg.vector_norm(difference.flatten(1), dim=1)
