"""Statistics of cross-attention (Ren et al., ECCV 2024).

Shapes: B captions, L text positions. ``abar_BL`` is the attention averaged over heads and
spatial positions: one distribution over text positions per caption (the entropy is taken after
averaging). It may have leading dimensions, such as layers, which the result keeps. ``n_B``: number
of tokens per caption, including BOS and EOS.
"""

import torch
from torch import Tensor


def attention_entropy(abar_BL: Tensor) -> Tensor:
    """Return −Σ ā ln ā over all text positions, in nats: (B,). Ren et al. 2024, metric E.

    Computed in float32 with 0·ln 0 = 0, since float16 underflows to NaN.
    """
    return torch.special.entr(abar_BL.float()).sum(-1)


def bos_mass(abar_BL: Tensor) -> Tensor:
    """Return ā on the BOS token: (B,). Ren et al. 2024, finding 1."""
    return abar_BL[..., 0]


def prompt_mass(abar_BL: Tensor, n_B: Tensor) -> Tensor:
    """Return Σ ā over the prompt tokens, positions 1 … n−2: (B,); 0 for an empty caption."""
    is_before_summary_BL = _begun(abar_BL) < n_B.to(abar_BL.device)[:, None]
    return (abar_BL * is_before_summary_BL)[..., 1:].sum(-1)


def summary_mass(abar_BL: Tensor, n_B: Tensor) -> Tensor:
    """Return Σ ā over the EOS token and the padding after it, positions n−1 … L−1: (B,).

    Ren et al. 2024, finding 2.
    """
    return (abar_BL * _is_summary(abar_BL, n_B)).sum(-1)


def summary_entropy(abar_BL: Tensor, n_B: Tensor) -> Tensor:
    """Return −Σ ā ln ā over the summary positions n−1 … L−1, without renormalizing: (B,)."""
    return (torch.special.entr(abar_BL.float()) * _is_summary(abar_BL, n_B)).sum(-1)


def _is_summary(abar_BL: Tensor, n_B: Tensor) -> Tensor:
    """Return which positions are summary tokens: n−1 … L−1, (B, L)."""
    return _begun(abar_BL) >= n_B.to(abar_BL.device)[:, None]


def _begun(abar_BL: Tensor) -> Tensor:
    """Return how many tokens have begun at each position: 1 … L."""
    return torch.arange(1, abar_BL.shape[-1] + 1, device=abar_BL.device)


def entropy_d(last_KBL: Tensor, first_BL: Tensor, n_B: Tensor) -> Tensor:
    """Return metric D of Ren et al. 2024 as in their released code: (B,).

    ``last_KBL``: ā of the last K steps (a fifth of the trajectory); ``first_BL``: of the first
    step; each averaged over all layers. D is the mean entropy of the last steps plus the increase
    of the summary entropy since the first step (signed; the paper prints an absolute value).
    """
    late = torch.stack([attention_entropy(abar) for abar in last_KBL]).mean(0)
    summary = torch.stack([summary_entropy(abar, n_B) for abar in last_KBL]).mean(0)
    return late + summary - summary_entropy(first_BL, n_B)
