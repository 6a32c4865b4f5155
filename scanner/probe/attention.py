"""Cross-attention that reports where it looks.

The softmax is done once, in float32; the statistics and the layer's output come from the same
probabilities, which are reduced at once and dropped. Self-attention stays as it is.

Shapes: B captions, H heads, P spatial positions, L text positions, D channels of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from scanner.errors import UserError


class WatchedCrossAttention:
    """A diffusers attention processor that appends its ā (B, L), in float32, to a record."""

    def __init__(self, record: list[Tensor]) -> None:
        self.record = record

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        q_BHPD = _split(attn.to_q(hidden_states), attn.heads)
        k_BHLD = _split(attn.to_k(encoder_hidden_states), attn.heads)
        v_BHLD = _split(attn.to_v(encoder_hidden_states), attn.heads)
        logits_BHPL = (q_BHPD * attn.scale) @ k_BHLD.transpose(-1, -2)
        attn_BHPL = logits_BHPL.softmax(-1, dtype=torch.float32)
        self.record.append(attn_BHPL.mean((1, 2)))
        output = (attn_BHPL.to(v_BHLD.dtype) @ v_BHLD).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](output))


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


@contextmanager
def watch_attention(unet: torch.nn.Module, layers: list[str]) -> Iterator[list[Tensor]]:
    """Within this context every forward appends ā (B, L) of each layer to the list, in run order.

    ``layers``: names of the cross-attention modules. On leaving, also by an exception, the U-Net
    has its own processors back. Clear the list between forwards. Raises UserError for attention
    that does more than softmax(QKᵀ/√d)V, since its probabilities would be others.
    """
    for name in layers:
        _check(name, unet.get_submodule(name))
    before = unet.attn_processors
    record: list[Tensor] = []
    watched = {f"{name}.processor": WatchedCrossAttention(record) for name in layers}
    unet.set_attn_processor({**before, **watched})
    try:
        yield record
    finally:
        unet.set_attn_processor(before)


def _check(name: str, attn: Attention) -> None:
    extras = {
        "group norm": attn.group_norm is not None,
        "spatial norm": attn.spatial_norm is not None,
        "norm of the text": bool(attn.norm_cross),
        "norm of queries or keys": attn.norm_q is not None or attn.norm_k is not None,
        "added keys": attn.added_kv_proj_dim is not None,
        "residual": bool(attn.residual_connection),
        "output factor": attn.rescale_output_factor != 1.0,
    }
    found = [what for what, there in extras.items() if there]
    if found:
        raise UserError(
            f"cross-attention {name} has {', '.join(found)}: this U-Net is not supported"
        )
