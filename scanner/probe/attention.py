"""Cross-attention that reports where it looks.

The softmax is done once, in float32; the statistics and the layer's output come from the same
probabilities, which are reduced at once and dropped. Self-attention stays as it is.

Shapes: B captions, H heads, P spatial positions, L text positions, D channels of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from scanner.errors import UserError


class Enough(Exception):
    """The last attention that was asked for has been seen; the rest need not run."""


@dataclass
class AttentionRecord:
    """What the watched layers of one forward reported, in the order in which they ran.

    abar: ā (B, L) in float32, a layer each. maps: for the layers that keep one, the attention
    (B, P) on one text position a caption, averaged over the heads. whole: of every layer the
    attention (B, P, L) averaged over the heads, only where ``keeps_whole`` is set: it is large.
    """

    abar: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    position_B: Tensor | None = None
    whole: list[Tensor] = field(default_factory=list)
    keeps_whole: bool = False

    def clear(self) -> None:
        """Forget the last forward."""
        self.abar.clear()
        self.maps.clear()
        self.whole.clear()


class WatchedCrossAttention:
    """A diffusers attention processor that reports its attention to a record.

    keeps_map: also report the map of the record's ``position_B``. ends: raise Enough after that.
    """

    def __init__(self, record: AttentionRecord, keeps_map: bool, ends: bool) -> None:
        self.record = record
        self.keeps_map = keeps_map
        self.ends = ends

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
        logits_BHPL = (q_BHPD * attn.scale) @ k_BHLD.transpose(-1, -2)
        if attention_mask is not None:  # (B, 1, L), as the stock processors take it
            logits_BHPL = logits_BHPL + attention_mask[:, None]
        attn_BHPL = logits_BHPL.softmax(-1, dtype=torch.float32)
        self.record.abar.append(attn_BHPL.detach().mean((1, 2)))
        if self.keeps_map and self.record.position_B is not None:
            rows = torch.arange(len(attn_BHPL), device=attn_BHPL.device)
            place = self.record.position_B.to(attn_BHPL.device)
            self.record.maps.append(attn_BHPL.detach()[rows, :, :, place].mean(1))
        if self.record.keeps_whole:
            self.record.whole.append(attn_BHPL.detach().mean(1))
        if self.ends:
            raise Enough
        v_BHLD = _split(attn.to_v(encoder_hidden_states), attn.heads)
        output = (attn_BHPL.to(v_BHLD.dtype) @ v_BHLD).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](output))


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


@contextmanager
def watch_attention(
    unet: torch.nn.Module,
    layers: list[str],
    depth: int | None = None,
    map_layers: tuple[int, ...] = (),
) -> Iterator[AttentionRecord]:
    """Within this context a forward reports the attention of its layers to the record.

    ``layers``: names of the cross-attention modules in run order. ``depth``: how many of them are
    needed; the forward is then left by the exception Enough right after the last one's softmax,
    so nothing that comes later is computed; None runs the whole forward. ``map_layers``: numbers
    of layers that also keep the map of ``record.position_B``. Clear the record between forwards.
    On leaving, also by an exception, the U-Net has its own processors back. Raises UserError for
    attention that does more than softmax(QKᵀ/√d)V, since its probabilities would be others.
    """
    for name in layers:
        _check(name, unet.get_submodule(name))
    before = unet.attn_processors
    record = AttentionRecord()
    watched = {
        f"{name}.processor": WatchedCrossAttention(
            record, keeps_map=number in map_layers, ends=number + 1 == depth
        )
        for number, name in enumerate(layers)
    }
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
        raise UserError(f"cross-attention {name} has {', '.join(found)}: not supported")
