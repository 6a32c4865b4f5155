"""Steps that ignore the caption, or follow it less."""

import torch
from torch import Tensor

from scanner.mitigation.generation import Generation


def without_caption(
    output_RCHW: Tensor, generation: Generation, weight: float = 0.0, rows_N: Tensor | None = None
) -> Tensor:
    """Return the output that gives ε_∅ + ``weight`` (ε_c − ε_∅) after the pipeline's guidance.

    ``rows_N``: which rows (None: all); of these, flagged ones only.
    """
    unconditional, conditional = output_RCHW.chunk(2)
    weakened = unconditional + (weight / generation.guidance) * (conditional - unconditional)
    if rows_N is not None:
        weakened = torch.where(rows_N.view(-1, 1, 1, 1), weakened, conditional)
    return torch.cat([unconditional, generation.mix(weakened, conditional)])
