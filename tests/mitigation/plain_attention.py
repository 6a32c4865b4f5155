"""The mitigated attention as a plain computation."""

import math
from typing import Any

import torch
from torch import Tensor


class PlainAttention:
    """The definition of Ren et al. 2024: zero weight at positions >= n; the captions' BOS logit
    times ``factor``."""

    def __init__(self, n: list[int], factor: float, mask: bool, guided: bool) -> None:
        self.n, self.factor, self.mask, self.guided = n, factor, mask, guided

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any
    ) -> Tensor:
        output = []
        counts = self.n * 2 if self.guided else self.n
        for row, n in enumerate(counts):
            q, k, v = (
                part(x[row]).unflatten(-1, (attn.heads, -1)).transpose(0, 1)
                for part, x in (
                    (attn.to_q, hidden_states),
                    (attn.to_k, encoder_hidden_states),
                    (attn.to_v, encoder_hidden_states),
                )
            )
            logits = q @ k.mT / math.sqrt(q.shape[-1])
            if not self.guided or row >= len(self.n):
                logits[..., 0] *= self.factor
            if self.mask:
                logits[..., n:] = -torch.inf
            output.append((logits.softmax(-1) @ v).transpose(0, 1).flatten(1))
        return attn.to_out[0](torch.stack(output))
