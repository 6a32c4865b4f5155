"""What a guided denoising yields."""

from dataclasses import dataclass

import torch
from torch import Tensor

LAST_SHARE = 5


@dataclass(frozen=True)
class Trajectory:
    """Results of a guided denoising of B captions in S steps.

    differences_SBCHW: ε_c − ε_∅, or v_c − v_∅, of every step. late_KBL: ā over all layers of the
    last fifth of the steps. ending_BHW: the end token's attention at the last step, at the latent's
    size. second_BCHW: ε_c, or v_c, of step 1; None of a single step.
    """

    differences_SBCHW: Tensor
    late_KBL: Tensor
    ending_BHW: Tensor
    second_BCHW: Tensor | None


@dataclass(frozen=True)
class Step:
    """A step of a guided denoising of B captions: ε_c and ε_c − ε_∅, or v_c and v_c − v_∅, and the
    latents after it."""

    number: int
    conditional_BCHW: Tensor
    difference_BCHW: Tensor
    x_BCHW: Tensor


def at_latent_size(map_BP: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize a map over a layer's positions (B, P) to the latent's size (B, h, w)."""
    shrink = round((size[0] * size[1] / map_BP.shape[1]) ** 0.5)
    rows = -(-size[0] // shrink)
    square = map_BP.view(len(map_BP), 1, rows, -1)
    return torch.nn.functional.interpolate(square, size=size, mode="bilinear")[:, 0]
