"""Cross-attention that records its attention probabilities.

The softmax is computed once, in float32. The statistics and the layer's output come from the same
probabilities, which are reduced immediately and discarded. Self-attention is unchanged.

Shapes: B captions, H heads, P spatial positions, L text positions, D channels per head, N
recorded layers, E = B·H.
"""

from collections.abc import Callable

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.sana_transformer import SanaAttnProcessor2_0
from torch import Tensor

from scanner.probe.attention_record import AttentionRecord

Attend = Callable[[Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor]]
"""(q_BPHD, k_BLHD, v_BLHD or None, scale) to the output (B, P, H, D), without v empty, and ā."""


def probabilities(
    q_BPHD: Tensor, k_BLHD: Tensor, scale: float, mask_B1L: Tensor | None = None
) -> Tensor:
    """Compute softmax(QKᵀ · scale) in float32, (B, H, P, L).

    The logits are float32 for inputs of any dtype: float16 logits overflow if queries and keys are
    large, and the softmax of infinities is NaN. So every model runs as with ``upcast_attention``.
    """
    heads = q_BPHD.shape[2]
    q_EPD, k_EDL = q_BPHD.transpose(1, 2).flatten(0, 1), k_BLHD.permute(0, 2, 3, 1).flatten(0, 1)
    nothing = q_BPHD.new_empty((1, 1, 1), dtype=torch.float32)
    logits_EPL = torch.baddbmm(nothing, q_EPD.float(), k_EDL.float(), beta=0, alpha=scale)
    logits_BHPL = logits_EPL.unflatten(0, (-1, heads))
    if mask_B1L is not None:  # as the stock processors take it
        logits_BHPL = logits_BHPL + mask_B1L[:, None]
    return logits_BHPL.softmax(-1)


def plain_attention(
    q_BPHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Attend with materialized probabilities: the reference for the fused kernel."""
    attn_BHPL = probabilities(q_BPHD, k_BLHD, scale)
    output = q_BPHD.new_empty(0) if v_BLHD is None else weighted(attn_BHPL, v_BLHD)
    return output, attn_BHPL.detach().mean((1, 2))


def weighted(attn_BHPL: Tensor, v_BLHD: Tensor) -> Tensor:
    """Return the layer's output (B, P, H, D)."""
    return (attn_BHPL.to(v_BLHD.dtype) @ v_BLHD.transpose(1, 2)).transpose(1, 2)


class RecordingAttnProcessor:
    """A diffusers attention processor that reports its attention to a record.

    number: index of the layer in the record. attend: computes the attention if no maps are kept.
    keeps_map: also report the map of the record's ``position_B``. is_last: the layer's output is
    unused, so it is not computed.
    """

    def __init__(
        self,
        record: AttentionRecord,
        number: int,
        attend: Attend = plain_attention,
        keeps_map: bool = False,
        is_last: bool = False,
    ) -> None:
        self.record = record
        self.number = number
        self.attend = attend
        self.keeps_map = keeps_map
        self.is_last = is_last

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        q_BPC, k_BLC = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states)
        if attn.norm_q is not None:  # Sana's, over all heads together
            q_BPC, k_BLC = attn.norm_q(q_BPC), attn.norm_k(k_BLC)
        q_BPHD = q_BPC.unflatten(-1, (attn.heads, -1))
        k_BLHD = k_BLC.unflatten(-1, (attn.heads, -1))
        v_BLHD = None
        if not self.is_last:
            v_BLHD = attn.to_v(encoder_hidden_states).unflatten(-1, (attn.heads, -1))
        if attention_mask is None and not self.keeps_map and not self.record.keeps_whole:
            output_BPHD, abar_BL = self.attend(q_BPHD, k_BLHD, v_BLHD, attn.scale)
        else:
            attn_BHPL = probabilities(q_BPHD, k_BLHD, attn.scale, attention_mask)
            abar_BL = attn_BHPL.detach().mean((1, 2))
            self._keep_maps(attn_BHPL.detach())
            output_BPHD = q_BPHD if v_BLHD is None else weighted(attn_BHPL, v_BLHD)
        self.record.keep(self.number, abar_BL)
        if self.is_last:
            return hidden_states
        return attn.to_out[1](attn.to_out[0](output_BPHD.flatten(2)))

    def _keep_maps(self, attn_BHPL: Tensor) -> None:
        record = self.record
        if self.keeps_map and record.position_B is not None:
            rows = torch.arange(len(attn_BHPL), device=attn_BHPL.device)
            position_B = record.position_B.to(attn_BHPL.device)
            record.maps[self.number] = attn_BHPL[rows, :, :, position_B].mean(1)
        if record.keeps_whole:
            record.whole[self.number] = attn_BHPL.mean(1)


def extras(attn: Attention) -> list[str]:
    """Return what an attention module does beyond softmax(QKᵀ/√d)V."""
    of_sana = isinstance(attn.processor, SanaAttnProcessor2_0 | RecordingAttnProcessor)
    has_norms = attn.norm_q is not None or attn.norm_k is not None
    used = {
        "group norm": attn.group_norm is not None,
        "spatial norm": attn.spatial_norm is not None,
        "norm of the text": bool(attn.norm_cross),
        "norm of queries or keys": has_norms and not of_sana,
        "added keys": attn.added_kv_proj_dim is not None,
        "residual": bool(attn.residual_connection),
        "output factor": attn.rescale_output_factor != 1.0,
    }
    return [what for what, is_used in used.items() if is_used]
