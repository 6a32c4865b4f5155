"""Joint attention over image and text that records the image's attention to the text.

Image and text are the queries and the keys of one attention. The fused kernel gives its output and,
for each query, the log-sum-exp of all logits; with it, the attention on a text key is
exp(q·k/√d − lse), exactly, and the attention of the image on itself is never in memory.

Shapes: B captions, H heads, S = P + L tokens, P image and L text positions, D channels per head,
E = B·H.
"""

import math
from collections.abc import Callable

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from scanner.probe.attention_record import AttentionRecord

CHUNK = 1 << 24
"""Probabilities of the image on the text that exist at once."""

Attended = tuple[Tensor, Tensor]
JointAttend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Attended]
"""(q, k, v), each (B, H, S, D), and what to add to the logits of each key, (S,) or None, to the
output (B, H, S, D) and the log-sum-exp (B, H, S)."""


def plain_joint_attention(
    q_BHSD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, bias_S: Tensor | None = None
) -> Attended:
    """Attend with materialized logits: the reference for the fused kernels."""
    scale = q_BHSD.shape[-1] ** -0.5
    logits_BHSS = q_BHSD.float() @ k_BHSD.float().transpose(-1, -2) * scale
    if bias_S is not None:
        logits_BHSS = logits_BHSS + bias_S
    lse_BHS = logits_BHSS.logsumexp(-1)
    return logits_BHSS.softmax(-1).to(v_BHSD.dtype) @ v_BHSD, lse_BHS


def cpu_joint_attention(
    q_BHSD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, bias_S: Tensor | None = None
) -> Attended:
    """Attend with the CPU's fused kernel."""
    mask = None if bias_S is None else bias_S.to(q_BHSD.dtype).expand(1, 1, len(bias_S), -1)
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q_BHSD, k_BHSD, v_BHSD, attn_mask=mask
    )
    return output, lse


def cuda_joint_attention(
    q_BHSD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, bias_S: Tensor | None = None
) -> Attended:
    """Attend with CUDA's flash kernel in half precision, and the memory-efficient one in float32,
    which the flash kernel does not take. Neither takes a bias here."""
    assert bias_S is None, "nothing is folded on CUDA"
    if q_BHSD.dtype == torch.float32:
        output, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            q_BHSD, k_BHSD, v_BHSD, None, True
        )
    else:
        output, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q_BHSD, k_BHSD, v_BHSD)
    return output, lse[..., : q_BHSD.shape[2]]  # some kernels pad it


def text_probabilities(q_BHPD: Tensor, k_BHLD: Tensor, lse_BHP: Tensor) -> Tensor:
    """Return the image's attention on the text in float32: (B, H, P, L). Rows sum to less than 1,
    since the rest is on the image."""
    B, H, _, D = q_BHPD.shape
    q_EPD, k_EDL = q_BHPD.float().flatten(0, 1), k_BHLD.float().flatten(0, 1).transpose(1, 2)
    lse_EP1 = lse_BHP.float().flatten(0, 1)[..., None]
    logits_EPL = torch.baddbmm(lse_EP1, q_EPD, k_EDL, beta=-1, alpha=D**-0.5)
    return logits_EPL.exp_().unflatten(0, (B, H))


def mean_text_attention(q_BHPD: Tensor, k_BHLD: Tensor, lse_BHP: Tensor) -> Tensor:
    """Return ā on the text, the mean over heads and image positions: (B, L)."""
    B, H, P, _ = q_BHPD.shape
    rows = max(1, CHUNK // (H * P * k_BHLD.shape[2]))
    parts = [
        text_probabilities(q_BHPD[i : i + rows], k_BHLD[i : i + rows], lse_BHP[i : i + rows])
        for i in range(0, B, rows)
    ]
    return torch.cat([part.mean((1, 2)) for part in parts])


class RecordingJointAttnProcessor:
    """A diffusers attention processor for Stable Diffusion 3's joint attention that reports the
    image's attention on the text to a record.

    number: index of the layer in the record. keeps_map: also report the map of the record's
    ``position_B``. is_last: the layer's output is unused, so values and output are not projected.
    repeats: how many equal text positions the last one stands for.
    """

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

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        positions = hidden_states.shape[1]
        q_BHSD, k_BHSD = queries_and_keys(attn, hidden_states, encoder_hidden_states)
        v_BHSD = k_BHSD
        if not self.is_last:
            v_BHSD = values(attn, hidden_states, encoder_hidden_states)
        bias_S = None
        if self.repeats > 1:  # n equal keys are one key with ln n added to its logit
            bias_S = q_BHSD.new_zeros(q_BHSD.shape[2], dtype=torch.float32)
            bias_S[-1] = math.log(self.repeats)
        output_BHSD, lse_BHS = self.attend(q_BHSD, k_BHSD, v_BHSD, bias_S)
        self._keep(
            q_BHSD[:, :, :positions].detach(),
            k_BHSD[:, :, positions:].detach(),
            lse_BHS[:, :, :positions].detach(),
        )
        if self.is_last:
            return hidden_states, encoder_hidden_states
        output_BSC = output_BHSD.transpose(1, 2).flatten(2)
        image, text = output_BSC[:, :positions], output_BSC[:, positions:]
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return attn.to_out[1](attn.to_out[0](image)), text

    def _keep(self, q_BHPD: Tensor, k_BHLD: Tensor, lse_BHP: Tensor) -> None:
        record = self.record
        record.keep(self.number, mean_text_attention(q_BHPD, k_BHLD, lse_BHP))
        if self.keeps_map and record.position_B is not None:
            position_B = record.position_B.to(k_BHLD.device)
            rows = torch.arange(len(k_BHLD), device=k_BHLD.device)
            key_BH1D = k_BHLD[rows, :, position_B][:, :, None]
            record.maps[self.number] = text_probabilities(q_BHPD, key_BH1D, lse_BHP)[..., 0].mean(1)
        if record.keeps_whole:
            record.whole[self.number] = text_probabilities(q_BHPD, k_BHLD, lse_BHP).mean(1)


def queries_and_keys(attn: Attention, image_BPC: Tensor, text_BLC: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries and keys of the image's tokens followed by the text's, each (B, H, S, D)."""

    def normed(norm: torch.nn.Module | None, projected_BHND: Tensor) -> Tensor:
        return projected_BHND if norm is None else norm(projected_BHND)

    q_image, k_image = _heads(attn, attn.to_q(image_BPC)), _heads(attn, attn.to_k(image_BPC))
    q_text, k_text = (
        _heads(attn, attn.add_q_proj(text_BLC)),
        _heads(attn, attn.add_k_proj(text_BLC)),
    )
    return (
        torch.cat([normed(attn.norm_q, q_image), normed(attn.norm_added_q, q_text)], 2),
        torch.cat([normed(attn.norm_k, k_image), normed(attn.norm_added_k, k_text)], 2),
    )


def values(attn: Attention, image_BPC: Tensor, text_BLC: Tensor) -> Tensor:
    """Return the values of the image's tokens followed by the text's, (B, H, S, D)."""
    image, text = attn.to_v(image_BPC), attn.add_v_proj(text_BLC)
    return torch.cat([_heads(attn, image), _heads(attn, text)], 2)


def _heads(attn: Attention, projected_BNC: Tensor) -> Tensor:
    return projected_BNC.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
