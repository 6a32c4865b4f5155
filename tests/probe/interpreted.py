"""Run the fused kernel in Triton's interpreter, which must be enabled before importing Triton.

Prints a JSON object per case: the differences of the output and ā from the plain computation.
"""

import json

import torch

from scanner.probe.attention import plain_attention
from scanner.probe.fused import fused_attention

# Positions, heads, channels per head: of Stable Diffusion 1, 2 and XL, and unusual ones.
SHAPES = ((64, 2, 40), (100, 2, 80), (16, 1, 160), (200, 2, 64), (9, 3, 8), (1, 1, 24))
TEXT = 77


def main() -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for positions, heads, width in SHAPES:
            q, k, v = (
                torch.randn(2, length, heads * width).to(dtype).unflatten(-1, (heads, -1))
                for length in (positions, TEXT, TEXT)
            )
            out, abar = fused_attention(q, k, v, width**-0.5)
            again, alone = fused_attention(q, k, None, width**-0.5)
            expected, expected_abar = plain_attention(q, k, v, width**-0.5)
            record = {
                "case": f"{dtype} {positions} {heads} {width}",
                "dtype": str(dtype),
                "output": float((out.float() - expected.float()).abs().max()),
                "abar": float((abar - expected_abar).abs().max()),
                "spread": float(abar.std()),
                "without_v": torch.equal(abar, alone) and again.numel() == 0,
            }
            print(json.dumps(record))


if __name__ == "__main__":
    main()
