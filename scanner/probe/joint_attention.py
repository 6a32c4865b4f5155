"""Joint attention over image and text that records the image's attention to the text.

Image and text are the queries and the keys of one attention. The fused kernel gives its output and,
for each query, the log-sum-exp of all logits; with it, the attention on a text key is
exp(q·k/√d − lse), exactly, and the attention of the image on itself is never in memory.

Shapes: B captions, H heads, S = P + L tokens, P image and L text positions, D channels per head,
E = B·H.
"""

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 1 << 24
"""Probabilities of the image on the text that exist at once."""
VECTOR = 8
"""Values per aligned access of CUDA's memory-efficient kernel."""

Attended = tuple[Tensor, Tensor]
JointAttend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Attended]
"""(q, k, v), each (B, H, S, D), and what to add to the logits of each key, (B or 1, S) or None, to
the output (B, H, S, D) and the log-sum-exp (B, H, S)."""


def plain_joint_attention(
    q_BHSD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, bias_BS: Tensor | None = None
) -> Attended:
    """Attend with materialized logits: the reference for the fused kernels."""
    scale = q_BHSD.shape[-1] ** -0.5
    logits_BHSS = q_BHSD.float() @ k_BHSD.float().transpose(-1, -2) * scale
    if bias_BS is not None:
        logits_BHSS = logits_BHSS + bias_BS[:, None, None]
    lse_BHS = logits_BHSS.logsumexp(-1)
    return logits_BHSS.softmax(-1).to(v_BHSD.dtype) @ v_BHSD, lse_BHS


def cpu_joint_attention(
    q_BHSD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, bias_BS: Tensor | None = None
) -> Attended:
    """Attend with the CPU's fused kernel."""
    mask = None
    if bias_BS is not None:
        mask = bias_BS.to(q_BHSD.dtype)[:, None, None].expand(-1, 1, q_BHSD.shape[2], -1)
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q_BHSD, k_BHSD, v_BHSD, attn_mask=mask
    )
    return output, lse


def cuda_joint_attention(
    q_BHSD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, bias_BS: Tensor | None = None
) -> Attended:
    """Attend with CUDA's flash kernel in half precision without a bias, otherwise with the
    memory-efficient one."""
    if bias_BS is None and q_BHSD.dtype != torch.float32:
        output, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q_BHSD, k_BHSD, v_BHSD)
    else:
        bias = None if bias_BS is None else _aligned(bias_BS.to(q_BHSD.dtype), q_BHSD)
        output, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            q_BHSD, k_BHSD, v_BHSD, bias, True
        )
    return output, lse[..., : q_BHSD.shape[2]]  # some kernels pad it


def _aligned(bias_BS: Tensor, q_BHSD: Tensor) -> Tensor:
    """Return a bias as the memory-efficient kernel takes it: (B, H, S, S) without copies, in rows
    of whole vectors."""
    B, H, S, _ = q_BHSD.shape
    rows_BS = torch.nn.functional.pad(bias_BS, (0, -S % VECTOR))[:, :S]
    return rows_BS[:, None, None].expand(B, H, S, S)


def text_probabilities(
    q_BHPD: Tensor, k_BHLD: Tensor, lse_BHP: Tensor, bias_BL: Tensor | None = None
) -> Tensor:
    """Return the image's attention on the text in float32: (B, H, P, L). Rows sum to less than 1,
    since the rest is on the image. ``bias_BL``: what was added to the logits, for masks."""
    B, H, _, D = q_BHPD.shape
    q_EPD, k_EDL = q_BHPD.float().flatten(0, 1), k_BHLD.float().flatten(0, 1).transpose(1, 2)
    lse_EP1 = lse_BHP.float().flatten(0, 1)[..., None]
    logits_EPL = torch.baddbmm(lse_EP1, q_EPD, k_EDL, beta=-1, alpha=D**-0.5)
    logits_BHPL = logits_EPL.unflatten(0, (B, H))
    if bias_BL is not None:
        logits_BHPL += bias_BL[:, None, None]
    return logits_BHPL.exp_()


def mean_text_attention(
    q_BHPD: Tensor, k_BHLD: Tensor, lse_BHP: Tensor, bias_BL: Tensor | None = None
) -> Tensor:
    """Return ā on the text, the mean over heads and image positions: (B, L)."""
    B, H, P, _ = q_BHPD.shape
    rows = max(1, CHUNK // (H * P * k_BHLD.shape[2]))
    means = []
    for start in range(0, B, rows):
        part = slice(start, start + rows)
        bias = None if bias_BL is None else bias_BL[part]
        means.append(
            text_probabilities(q_BHPD[part], k_BHLD[part], lse_BHP[part], bias).mean((1, 2))
        )
    return torch.cat(means)
