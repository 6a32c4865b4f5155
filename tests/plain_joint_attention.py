"""Joint attention as a plain computation: one row and one head at a time, with whole softmaxes."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Edit = Callable[[int, Tensor], Tensor]
"""(row, logits (P, L) of the image's queries on the text) to the edited logits."""


class PlainJointAttention:
    """Keeps the image's attention on the text of every call: (B, H, P, L)."""

    def __init__(self, edit: Edit = lambda row, logits_PL: logits_PL) -> None:
        self.edit = edit
        self.seen: list[Tensor] = []

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor]:
        positions = hidden_states.shape[1]
        rows, seen = [], []
        for row, (image, text) in enumerate(zip(hidden_states, encoder_hidden_states, strict=True)):
            q = _tokens(attn, image, text, "to_q", "add_q_proj", "norm_q", "norm_added_q")
            k = _tokens(attn, image, text, "to_k", "add_k_proj", "norm_k", "norm_added_k")
            v = _tokens(attn, image, text, "to_v", "add_v_proj")
            heads = []
            for head in range(attn.heads):
                logits_SS = q[head] @ k[head].T / math.sqrt(q.shape[-1])
                logits_SS = logits_SS.clone()
                logits_SS[:positions, positions:] = self.edit(
                    row, logits_SS[:positions, positions:].clone()
                )
                heads.append(logits_SS.softmax(-1))
            attn_HSS = torch.stack(heads)
            seen.append(attn_HSS[:, :positions, positions:].detach())
            rows.append((attn_HSS @ v).transpose(0, 1).flatten(1))
        self.seen.append(torch.stack(seen))
        output = torch.stack(rows)
        of_image, of_text = output[:, :positions], output[:, positions:]
        if not attn.context_pre_only:
            of_text = attn.to_add_out(of_text)
        return attn.to_out[0](of_image), of_text


def _tokens(attn: Any, image: Tensor, text: Tensor, *names: str) -> Tensor:
    """Return the projections of image and text, normed if the module norms them: (H, S, D)."""
    parts = []
    for states, part, norm in zip((image, text), names[:2], names[2:] or ("", ""), strict=True):
        heads = getattr(attn, part)(states).unflatten(-1, (attn.heads, -1)).transpose(0, 1)
        module = getattr(attn, norm, None) if norm else None
        parts.append(heads if module is None else module(heads))
    return torch.cat(parts, 1)


@contextmanager
def plain_joint_attention(transformer: nn.Module, plain: PlainJointAttention) -> Iterator[None]:
    """Attend plainly within this context, in every block."""
    modules: list[Any] = [block.attn for block in transformer.transformer_blocks]
    before = [attn.processor for attn in modules]
    for attn in modules:
        attn.set_processor(plain)
    try:
        yield
    finally:
        for attn, processor in zip(modules, before, strict=True):
            attn.set_processor(processor)
