"""Attention processors that record the image's attention on the text, by kind of joint attention.

Shapes: as in :mod:`scanner.probe.joint_attention`; C channels of a token.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttention
from diffusers.models.transformers.transformer_qwenimage import apply_rotary_emb_qwen
from torch import Tensor

from scanner.probe.attention_record import AttentionRecord
from scanner.probe.joint_attention import JointAttend, mean_text_attention, text_probabilities


class RecordingJointAttnProcessor:
    """A diffusers attention processor that reports the image's attention on the text to a record.

    number: index of the layer in the record. keeps_map: also report the map of the record's
    ``position_B``. is_last: the layer's output is unused, so values and output are not projected.
    repeats: how many equal text positions the last one stands for (Stable Diffusion 3 only).
    """

    text_first = True
    """Whether the text's tokens precede the image's."""
    registers = 0
    """Learned tokens before the text, which are neither text nor image."""

    def __init__(
        self,
        record: AttentionRecord,
        number: int,
        attend: JointAttend,
        keeps_map: bool = False,
        is_last: bool = False,
        repeats: int = 1,
    ) -> None:
        self.record = record
        self.number = number
        self.attend = attend
        self.keeps_map = keeps_map
        self.is_last = is_last
        self.repeats = repeats

    def attended(
        self,
        q_BHSD: Tensor,
        k_BHSD: Tensor,
        values: Callable[[], Tensor],
        length: int,
        bias_BS: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend and record; return the output of the image's tokens and of the text's, (B, …, C).

        ``values``: returns (B, H, S, D); not called for the last layer, whose output is
        meaningless. ``length``: text positions and registers. ``bias_BS``: added to the logits of
        each key.
        """
        tokens = q_BHSD.shape[2]
        text, image = slice(0, length), slice(length, tokens)
        if not self.text_first:
            image, text = slice(0, tokens - length), slice(tokens - length, tokens)
        self.record.length = length
        words = slice(text.start + self.registers, text.stop)
        output_BSC = self.attended_at(q_BHSD, k_BHSD, values, words, image, bias_BS)
        return output_BSC[:, image], output_BSC[:, text]

    def attended_at(
        self,
        q_BHSD: Tensor,
        k_BHSD: Tensor,
        values: Callable[[], Tensor],
        text: slice,
        image: slice,
        bias_BS: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`attended`; return the output of all tokens. ``text``, ``image``: their
        tokens."""
        v_BHSD = k_BHSD if self.is_last else values()
        output_BHSD, lse_BHS = self.attend(q_BHSD, k_BHSD, v_BHSD, bias_BS)
        self._keep(
            q_BHSD[:, :, image].detach(),
            k_BHSD[:, :, text].detach(),
            lse_BHS[:, :, image].detach(),
            # What is folded has a bias that the log-sum-exp holds, but not each of its positions.
            bias_BS[:, text] if bias_BS is not None and self.repeats == 1 else None,
        )
        return output_BHSD.transpose(1, 2).flatten(2)

    def _keep(
        self, q_BHPD: Tensor, k_BHLD: Tensor, lse_BHP: Tensor, bias_BL: Tensor | None
    ) -> None:
        record = self.record
        record.keep(self.number, mean_text_attention(q_BHPD, k_BHLD, lse_BHP, bias_BL))
        if self.keeps_map and record.position_B is not None:
            position_B = record.position_B.to(k_BHLD.device)
            rows = torch.arange(len(k_BHLD), device=k_BHLD.device)
            key_BH1D = k_BHLD[rows, :, position_B][:, :, None]
            record.maps[self.number] = text_probabilities(q_BHPD, key_BH1D, lse_BHP)[..., 0].mean(1)
        if record.keeps_whole:
            whole_BHPL = text_probabilities(q_BHPD, k_BHLD, lse_BHP, bias_BL)
            record.whole[self.number] = whole_BHPL.mean(1)


class RecordingSD3AttnProcessor(RecordingJointAttnProcessor):
    """For Stable Diffusion 3: two streams, the image's tokens first, nothing masked."""

    text_first = False

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        q_BHSD, k_BHSD = queries_and_keys(attn, hidden_states, encoder_hidden_states)
        bias_1S = None
        if self.repeats > 1:  # n equal keys are one key with ln n added to its logit
            bias_1S = q_BHSD.new_zeros((1, q_BHSD.shape[2]), dtype=torch.float32)
            bias_1S[:, -1] = math.log(self.repeats)
        image, text = self.attended(
            q_BHSD,
            k_BHSD,
            lambda: values(attn, hidden_states, encoder_hidden_states),
            encoder_hidden_states.shape[1],
            bias_1S,
        )
        if self.is_last:
            return hidden_states, encoder_hidden_states
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return attn.to_out[1](attn.to_out[0](image)), text


class RecordingFluxAttnProcessor(RecordingJointAttnProcessor):
    """For FLUX.1 and Chroma: two streams or one, the text's tokens first, rotary positions.

    Chroma's mask holds for all queries here; in the stock processor, queries that are masked as
    keys attend to nothing. Nothing attends to them, so the image's output is the same.
    """

    def __call__(
        self,
        attn: FluxAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        text_BLC = encoder_hidden_states
        q_BSHD = attn.norm_q(split(attn, attn.to_q(hidden_states)))
        k_BSHD = attn.norm_k(split(attn, attn.to_k(hidden_states)))
        if text_BLC is not None:
            q_text = attn.norm_added_q(split(attn, attn.add_q_proj(text_BLC)))
            k_text = attn.norm_added_k(split(attn, attn.add_k_proj(text_BLC)))
            q_BSHD, k_BSHD = torch.cat([q_text, q_BSHD], 1), torch.cat([k_text, k_BSHD], 1)
        if image_rotary_emb is not None:
            q_BSHD = apply_rotary_emb(q_BSHD, image_rotary_emb, sequence_dim=1)
            k_BSHD = apply_rotary_emb(k_BSHD, image_rotary_emb, sequence_dim=1)

        def of_tokens() -> Tensor:
            v_BSC = attn.to_v(hidden_states)
            if text_BLC is not None:
                v_BSC = torch.cat([attn.add_v_proj(text_BLC), v_BSC], 1)
            return heads(attn, v_BSC)

        image, text = self.attended(
            q_BSHD.transpose(1, 2),
            k_BSHD.transpose(1, 2),
            of_tokens,
            self.record.length if text_BLC is None else text_BLC.shape[1],
            # An image token's row of the mask: which keys count.
            None if attention_mask is None else bias_of(attention_mask[:, 0, -1]),
        )
        if text_BLC is None:
            if self.is_last:
                return hidden_states
            joined = torch.cat([text, image], 1)
            return joined if attn.pre_only else attn.to_out[1](attn.to_out[0](joined))
        if self.is_last:
            return hidden_states, text_BLC
        return attn.to_out[1](attn.to_out[0](image)), attn.to_add_out(text)


class RecordingAuraFlowAttnProcessor(RecordingFluxAttnProcessor):
    """For AuraFlow: two streams or one, with learned tokens before the text, nothing masked."""

    registers = 8


class RecordingQwenAttnProcessor(RecordingJointAttnProcessor):
    """For Qwen-Image: two streams, the text's tokens first, rotary positions, padding masked."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        image_BPC, text_BLC = hidden_states, encoder_hidden_states
        of_image, of_text = image_rotary_emb or (None, None)

        def placed(projected_BNC: Tensor, norm: Any, rotary: Tensor | None) -> Tensor:
            x_BNHD = normed(norm, split(attn, projected_BNC))
            return x_BNHD if rotary is None else apply_rotary_emb_qwen(x_BNHD, rotary, False)

        q_text = placed(attn.add_q_proj(text_BLC), attn.norm_added_q, of_text)
        k_text = placed(attn.add_k_proj(text_BLC), attn.norm_added_k, of_text)
        q_image = placed(attn.to_q(image_BPC), attn.norm_q, of_image)
        k_image = placed(attn.to_k(image_BPC), attn.norm_k, of_image)
        bias_BS = None
        if encoder_hidden_states_mask is not None:
            bias_BS = torch.nn.functional.pad(
                bias_of(encoder_hidden_states_mask), (0, image_BPC.shape[1])
            )
        image, text = self.attended(
            torch.cat([q_text, q_image], 1).transpose(1, 2),
            torch.cat([k_text, k_image], 1).transpose(1, 2),
            lambda: heads(attn, torch.cat([attn.add_v_proj(text_BLC), attn.to_v(image_BPC)], 1)),
            text_BLC.shape[1],
            bias_BS,
        )
        if self.is_last:
            return hidden_states, encoder_hidden_states
        return attn.to_out[1](attn.to_out[0](image)), attn.to_add_out(text)


def bias_of(mask_BL: Tensor) -> Tensor:
    """Return what a mask adds to the logits of each key, in float32: 0, or −∞ for masked ones."""
    return torch.zeros_like(mask_BL, dtype=torch.float32).masked_fill(~mask_BL, -math.inf)


def queries_and_keys(attn: Attention, image_BPC: Tensor, text_BLC: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries and keys of the image's tokens followed by the text's, each (B, H, S, D)."""
    q_image, k_image = heads(attn, attn.to_q(image_BPC)), heads(attn, attn.to_k(image_BPC))
    q_text, k_text = (
        heads(attn, attn.add_q_proj(text_BLC)),
        heads(attn, attn.add_k_proj(text_BLC)),
    )
    return (
        torch.cat([normed(attn.norm_q, q_image), normed(attn.norm_added_q, q_text)], 2),
        torch.cat([normed(attn.norm_k, k_image), normed(attn.norm_added_k, k_text)], 2),
    )


def values(attn: Attention, image_BPC: Tensor, text_BLC: Tensor) -> Tensor:
    """Return the values of the image's tokens followed by the text's, (B, H, S, D)."""
    image, text = attn.to_v(image_BPC), attn.add_v_proj(text_BLC)
    return torch.cat([heads(attn, image), heads(attn, text)], 2)


def normed(norm: torch.nn.Module | None, projected: Tensor) -> Tensor:
    return projected if norm is None else norm(projected)


def heads(attn: Attention, projected_BNC: Tensor) -> Tensor:
    return split(attn, projected_BNC).transpose(1, 2)


def split(attn: Any, projected_BNC: Tensor) -> Tensor:
    return projected_BNC.unflatten(-1, (attn.heads, -1))
