"""Attention processors that record where one projection serves the text's and the image's tokens.

Shapes: as in :mod:`scanner.probe.joint_attention`; C channels of a token.
"""

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor
from torch.nn.functional import pad

from scanner.probe.joint_processors import (
    RecordingJointAttnProcessor,
    bias_of,
    heads,
    normed,
    split,
)


class RecordingCogView4AttnProcessor(RecordingJointAttnProcessor):
    """For CogView4: the text's tokens first, rotary positions of the image, padding masked."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        text_attn_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        length = encoder_hidden_states.shape[1]
        joined_BSC = torch.cat([encoder_hidden_states, hidden_states], 1)

        def placed(projected_BSC: Tensor, norm: torch.nn.Module | None) -> Tensor:
            x_BHSD = normed(norm, heads(attn, projected_BSC)).to(joined_BSC.dtype)
            image_BHPD = x_BHSD[:, :, length:]
            if image_rotary_emb is not None:
                image_BHPD = apply_rotary_emb(image_BHPD, image_rotary_emb, use_real_unbind_dim=-2)
            return torch.cat([x_BHSD[:, :, :length], image_BHPD], 2)

        bias_BS = None
        if text_attn_mask is not None:
            bias_BS = pad(bias_of(text_attn_mask.bool()), (0, hidden_states.shape[1]))
        image, text = self.attended(
            placed(attn.to_q(joined_BSC), attn.norm_q),
            placed(attn.to_k(joined_BSC), attn.norm_k),
            lambda: heads(attn, attn.to_v(joined_BSC)),
            length,
            bias_BS,
        )
        if self.is_last:
            return hidden_states, encoder_hidden_states
        image, text = (attn.to_out[1](attn.to_out[0](part)) for part in (image, text))
        return image, text


class RecordingOneSequenceAttnProcessor(RecordingJointAttnProcessor):
    """For Lumina-Image 2.0 and Z-Image: one sequence, in which ``run`` of the family places the
    text and the image; complex rotary positions of each caption; fewer heads of keys and values
    than of queries.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Tensor | None = None,
        freqs_cis: Tensor | None = None,
    ) -> Tensor:
        rotary_BSC = image_rotary_emb if freqs_cis is None else freqs_cis
        q_BSHD = _turned(attn.norm_q, split(attn, attn.to_q(hidden_states)), rotary_BSC)
        width = q_BSHD.shape[-1]

        def keys(projected_BSC: Tensor) -> Tensor:
            return projected_BSC.unflatten(-1, (-1, width))

        def for_all_heads(x_BSHD: Tensor) -> Tensor:
            shared = q_BSHD.shape[2] // x_BSHD.shape[2]
            return x_BSHD.repeat_interleave(shared, 2).transpose(1, 2)

        text, image = attn.placed
        output_BSC = self.attended_at(
            q_BSHD.transpose(1, 2),
            for_all_heads(_turned(attn.norm_k, keys(attn.to_k(hidden_states)), rotary_BSC)),
            lambda: for_all_heads(keys(attn.to_v(hidden_states))),
            text,
            image,
            None if attention_mask is None else bias_of(attention_mask.bool()),
        )
        if self.is_last:
            return hidden_states
        output_BSC = attn.to_out[0](output_BSC)
        return attn.to_out[1](output_BSC) if len(attn.to_out) > 1 else output_BSC


def _turned(norm: torch.nn.Module | None, x_BSHD: Tensor, rotary_BSC: Tensor | None) -> Tensor:
    """Return normed queries or keys at their positions."""
    x_BSHD = normed(norm, x_BSHD)
    return x_BSHD if rotary_BSC is None else apply_rotary_emb(x_BSHD, rotary_BSC, use_real=False)
