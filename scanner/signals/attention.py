"""Statistics of cross-attention (Ren et al., ECCV 2024).

Shapes: B captions, L text positions. ``abar_BL`` is the attention averaged over heads and
spatial positions: one distribution over text positions per caption (the entropy is taken after
averaging). It may have leading dimensions, such as layers, which the result keeps.
``is_prompt_BL``: which positions hold the caption's words; the others are summary tokens, but for
the first ``begins``, the BOS token if there is one, whose entries are ignored.
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


def prompt_positions(n_B: Tensor, length: int) -> Tensor:
    """Return which of ``length`` positions precede the EOS token: (B, L). These are BOS and words.

    ``n_B``: number of tokens per caption, including BOS and EOS.
    """
    return torch.arange(1, length + 1, device=n_B.device) < n_B[:, None]


def prompt_mass(abar_BL: Tensor, is_prompt_BL: Tensor, begins: int = 1) -> Tensor:
    """Return Σ ā over the prompt tokens: (B,); 0 for an empty caption."""
    return (abar_BL * is_prompt_BL)[..., begins:].sum(-1)


def summary_mass(abar_BL: Tensor, is_prompt_BL: Tensor, begins: int = 1) -> Tensor:
    """Return Σ ā over the EOS token and the padding after it: (B,). Ren et al. 2024, finding 2."""
    return (abar_BL * ~is_prompt_BL)[..., begins:].sum(-1)


def summary_entropy(abar_BL: Tensor, is_prompt_BL: Tensor, begins: int = 1) -> Tensor:
    """Return −Σ ā ln ā over the summary positions, without renormalizing: (B,)."""
    return (torch.special.entr(abar_BL.float()) * ~is_prompt_BL)[..., begins:].sum(-1)


def text_share(abar_BL: Tensor) -> Tensor:
    """Return Σ ā over the text, of an attention over image and text: (B,)."""
    return abar_BL.sum(-1)


def of_text(abar_BL: Tensor) -> Tensor:
    """Return ā divided by the text's share, a distribution over the text: (B, L)."""
    return abar_BL / text_share(abar_BL)[..., None]


def entropy_d(last_KBL: Tensor, first_BL: Tensor, is_prompt_BL: Tensor, begins: int = 1) -> Tensor:
    """Return metric D of Ren et al. 2024 as in their released code: (B,).

    ``last_KBL``: ā of the last K steps (a fifth of the trajectory); ``first_BL``: of the first
    step; each averaged over all layers. D is the mean entropy of the last steps plus the increase
    of the summary entropy since the first step (signed; the paper prints an absolute value).
    """
    late = torch.stack([attention_entropy(abar) for abar in last_KBL]).mean(0)
    summary = torch.stack([summary_entropy(abar, is_prompt_BL, begins) for abar in last_KBL])
    return late + summary.mean(0) - summary_entropy(first_BL, is_prompt_BL, begins)
