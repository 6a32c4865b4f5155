"""Cross-attention in one pass: softmax, column means and the product with V in one Triton kernel.

The probabilities (B, H, P, L) never exist in memory. Each program holds a block of queries of one
head and all L keys, padded to a power of two; it writes the sums of its columns, which another
step adds in a fixed order, so equal inputs give bitwise equal results.

Shapes: B captions, H heads, P spatial positions, L text positions, D channels per head.
"""

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_P = 128
BLOCK_D = 32
LONGEST = 256
"""Text positions that fit one program."""
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@triton.jit
def _attend(  # type: ignore[no-untyped-def]  # Triton's own types
    q_ptr, k_ptr, v_ptr, out_ptr,  # (B, P, H, D), contiguous
    sums_ptr,  # (B, H, blocks, BLOCK_L)
    scale, P, L, H,
    D: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_D: tl.constexpr,
    HAS_V: tl.constexpr,
    WIDEN: tl.constexpr,  # Triton's interpreter multiplies bfloat16 as if it were integers
):  # fmt: skip
    block, row = tl.program_id(0), tl.program_id(1)
    b, h = (row // H).to(tl.int64), row % H
    p, text = block * BLOCK_P + tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_L)
    queries, keys = (b * P + p) * H + h, (b * L + text) * H + h
    logits = tl.zeros((BLOCK_P, BLOCK_L), tl.float32)
    for first in tl.static_range(0, D, BLOCK_D):
        d = first + tl.arange(0, BLOCK_D)
        held = (p[:, None] < P) & (d[None, :] < D)
        q = tl.load(q_ptr + queries[:, None] * D + d[None, :], mask=held, other=0.0)
        held = (text[None, :] < L) & (d[:, None] < D)
        k = tl.load(k_ptr + keys[None, :] * D + d[:, None], mask=held, other=0.0)
        if WIDEN:
            q, k = q.to(tl.float32), k.to(tl.float32)
        logits = tl.dot(q, k, logits, input_precision="ieee")
    logits = tl.where(text[None, :] < L, logits * scale, float("-inf"))
    weights = tl.exp(logits - tl.max(logits, 1)[:, None])
    weights = weights / tl.sum(weights, 1)[:, None]
    masked = tl.where(p[:, None] < P, weights, 0.0)
    tl.store(sums_ptr + (row * tl.num_programs(0) + block) * BLOCK_L + text, tl.sum(masked, 0))
    if HAS_V:
        for first in tl.static_range(0, D, BLOCK_D):
            d = first + tl.arange(0, BLOCK_D)
            held = (text[:, None] < L) & (d[None, :] < D)
            v = tl.load(v_ptr + keys[:, None] * D + d[None, :], mask=held, other=0.0)
            share = weights.to(v.dtype)
            if WIDEN:
                share, v = share.to(tl.float32), v.to(tl.float32)
            out = tl.dot(share, v, input_precision="ieee").to(out_ptr.dtype.element_ty)
            held = (p[:, None] < P) & (d[None, :] < D)
            tl.store(out_ptr + queries[:, None] * D + d[None, :], out, mask=held)


@torch.library.custom_op("memscan::fused_attention", mutates_args=())
def _fused(
    q_BPHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    B, P, H, D = q_BPHD.shape
    L = k_BLHD.shape[1]
    block_p = min(BLOCK_P, max(16, triton.next_power_of_2(P)))
    block_l = max(16, triton.next_power_of_2(L))
    blocks = triton.cdiv(P, block_p)
    sums = q_BPHD.new_empty((B, H * blocks, block_l), dtype=torch.float32)
    out = q_BPHD.new_empty((B, P, H, D) if v_BLHD is not None else 0)
    _attend[(blocks, B * H)](
        q_BPHD.contiguous(),
        k_BLHD.contiguous(),
        k_BLHD if v_BLHD is None else v_BLHD.contiguous(),
        sums if v_BLHD is None else out,
        sums,
        *(scale, P, L, H, D),
        BLOCK_P=block_p,
        BLOCK_L=block_l,
        BLOCK_D=BLOCK_D,
        HAS_V=v_BLHD is not None,
        WIDEN=INTERPRETED,
        num_warps=8 if block_p == BLOCK_P else 4,
    )
    return out, sums[..., :L].sum(1) / (H * P)


def _shapes(
    q_BPHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    B, L = k_BLHD.shape[:2]
    out = q_BPHD.new_empty(q_BPHD.shape if v_BLHD is not None else 0)
    return out, q_BPHD.new_empty((B, L), dtype=torch.float32)


_fused.register_fake(_shapes)


def fused_attention(
    q_BPHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Attend as plain_attention does, without gradients, for at most LONGEST text positions."""
    return _fused(q_BPHD, k_BLHD, v_BLHD, scale)
