"""Statistics of cross-attention (Ren et al., ECCV 2024).

Shapes: B captions, L text positions. ``abar_BL`` is the attention averaged over heads and
spatial positions, one distribution over the text positions a caption; average first, entropy
after. It may have more dimensions before these, such as layers: the result has them too.
``n_B`` counts a caption's tokens with its beginning and end token.
"""

import torch
from torch import Tensor


def attention_entropy(abar_BL: Tensor) -> Tensor:
    """−Σ ā ln ā over all text positions, in nats: (B,). Ren et al. 2024, metric E.

    In float32, where 0·ln 0 is 0 (float16 underflows to NaN).
    """
    return torch.special.entr(abar_BL.float()).sum(-1)


def beginning_mass(abar_BL: Tensor) -> Tensor:
    """ā on the beginning token: (B,). Ren et al. 2024, finding 1."""
    return abar_BL[..., 0]


def prompt_mass(abar_BL: Tensor, n_B: Tensor) -> Tensor:
    """Σ ā over the prompt tokens, positions 1 … n−2: (B,); 0 for an empty caption."""
    position = torch.arange(abar_BL.shape[-1], device=abar_BL.device)
    prompt_BL = (position >= 1) & (position <= n_B.to(abar_BL.device)[:, None] - 2)
    return (abar_BL * prompt_BL).sum(-1)


def summary_mass(abar_BL: Tensor, n_B: Tensor) -> Tensor:
    """Σ ā over the end token and the padding after it, positions n−1 … L−1: (B,).

    Ren et al. 2024, finding 2.
    """
    position = torch.arange(abar_BL.shape[-1], device=abar_BL.device)
    return (abar_BL * (position >= n_B.to(abar_BL.device)[:, None] - 1)).sum(-1)


def summary_entropy(abar_BL: Tensor, n_B: Tensor) -> Tensor:
    """−Σ ā ln ā over the summary positions n−1 … L−1, not renormalised: (B,)."""
    position = torch.arange(abar_BL.shape[-1], device=abar_BL.device)
    summary_BL = position >= n_B.to(abar_BL.device)[:, None] - 1
    return (torch.special.entr(abar_BL.float()) * summary_BL).sum(-1)


def entropy_d(last_KBL: Tensor, first_BL: Tensor, n_B: Tensor) -> Tensor:
    """Ren et al. 2024, metric D, as their released code computes it: (B,).

    ``last_KBL``: ā of the last K steps (a fifth of the trajectory), ``first_BL`` of the first,
    each averaged over all layers. The mean entropy of the last steps, plus what the entropy of
    the summary tokens gained since the first step (signed; the paper prints an absolute value).
    """
    late = torch.stack([attention_entropy(abar) for abar in last_KBL]).mean(0)
    summary = torch.stack([summary_entropy(abar, n_B) for abar in last_KBL]).mean(0)
    return late + summary - summary_entropy(first_BL, n_B)
