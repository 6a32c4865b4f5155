"""Projected gradient descent on captions' embeddings, within a radius around them.

Shapes: G captions, L text positions, C channels of an embedding.
"""

import torch
from torch import Tensor

from scanner.mitigation.adversary.image_error import ImageErrors

STRIDE = 2.5
"""Length of all steps together, in radii (Madry et al., ICLR 2018)."""


def search_embeddings(
    errors: ImageErrors, hidden_GLC: Tensor, radius: float, steps: int, begins: int
) -> tuple[Tensor, Tensor]:
    """Return the offsets (G, L, C) with the lowest relative errors seen, and these errors (G,).

    ``hidden_GLC``: the captions' embeddings. The neighborhood is a ball around each text position,
    whose radius is a share of the norm of its embedding; so positions with a large norm, such as a
    BOS token's in some encoders, do not widen the others'. Each step is the steepest descent for
    such balls: every position moves equally far, in its radii. The first ``begins`` positions,
    which are the same for every caption, stay as they are, as do pooled embeddings.
    """
    hidden_GLC = hidden_GLC.float().clone()
    most_GL1 = radius * hidden_GLC.norm(dim=-1, keepdim=True)
    most_GL1[:, :begins] = 0
    tiny = torch.finfo(torch.float32).tiny
    offset_GLC = best_GLC = torch.zeros_like(hidden_GLC)
    lowest_G = torch.full((len(hidden_GLC),), float("inf"), device=hidden_GLC.device)
    for step in range(steps + 1):
        error_G, gradient_GLC = errors.gradient(offset_GLC)
        is_lower_G = error_G < lowest_G
        best_GLC = torch.where(is_lower_G[:, None, None], offset_GLC, best_GLC)
        lowest_G = torch.where(is_lower_G, error_G, lowest_G)
        if step < steps:
            norm_GL1 = gradient_GLC.norm(dim=-1, keepdim=True).clamp(min=tiny)
            offset_GLC = offset_GLC - STRIDE / steps * most_GL1 * gradient_GLC / norm_GL1
            length_GL1 = offset_GLC.norm(dim=-1, keepdim=True).clamp(min=tiny)
            offset_GLC = offset_GLC * (most_GL1 / length_GL1).clamp(max=1)
    return best_GLC, lowest_G


def relative_distance(hidden_LC: Tensor, offset_LC: Tensor) -> float:
    """Return how far an offset moves a text position, as a share of the norm of its embedding: the
    root mean square over the positions that are not zero."""
    norm_L, moved_L = hidden_LC.float().norm(dim=-1), offset_LC.float().norm(dim=-1)
    used = norm_L > 0
    return float((moved_L[used] / norm_L[used]).square().mean().sqrt())
