"""Time the recording of joint attention on a stack of full-width blocks of Stable Diffusion 3."""

import statistics
import time
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from scanner.probe import choose_attend, watch_attention

BLOCKS = 2
HEADS, HEAD_WIDTH = 24, 64
WIDTH = HEADS * HEAD_WIDTH
TEXT = 333
"""77 positions of CLIP and 256 of T5."""
PATCHES = {512: 32, 1024: 64}
"""Image tokens along a side, by the image's side in pixels."""


def measure(rounds: int, pixels: int = 512) -> dict[str, Any]:
    """Time forwards with and without recording, in turn, on the CPU with random weights.

    ``overhead``: the median over rounds of the ratio within a round, minus 1; ``cpu_overhead``: the
    same of CPU seconds, which other processes disturb less. ``flop_share``: the
    floating-point operations of the recording (queries of the image times keys of the text) as a
    share of the blocks' own.
    """
    torch.manual_seed(0)
    side = PATCHES[pixels]
    transformer = SD3Transformer2DModel(
        num_layers=BLOCKS + 1,  # the last block of a model does not update the text
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        caption_projection_dim=WIDTH,
        sample_size=2 * side,
        pos_embed_max_size=192,
    )
    blocks = transformer.eval().requires_grad_(False).transformer_blocks[:BLOCKS]
    image_1PC = torch.randn(1, side * side, WIDTH)
    text_1LC, temb_1C = torch.randn(1, TEXT, WIDTH), torch.randn(1, WIDTH)
    layers = [f"transformer_blocks.{number}.attn" for number in range(BLOCKS)]
    attend = choose_attend(transformer, layers)

    @torch.inference_mode()
    def run() -> tuple[float, float]:
        image: Tensor = image_1PC
        text: Tensor = text_1LC
        began, cpu_began = time.perf_counter(), time.process_time()
        for block in blocks:
            text, image = block(image, text, temb_1C)
        return time.perf_counter() - began, time.process_time() - cpu_began

    run()
    plain, recorded = [], []
    for _ in range(rounds):
        plain.append(run())
        with watch_attention(transformer, layers, attend=attend):
            recorded.append(run())
    ratios, cpu_ratios = (
        [with_it[clock] / without[clock] for with_it, without in zip(recorded, plain, strict=True)]
        for clock in (0, 1)
    )
    flop = _flop(side * side)
    return {
        "blocks": BLOCKS,
        "pixels": pixels,
        "image_tokens": side * side,
        "text_tokens": TEXT,
        "rounds": rounds,
        "seconds_plain": statistics.median(wall for wall, _ in plain),
        "seconds_recorded": statistics.median(wall for wall, _ in recorded),
        "overhead": statistics.median(ratios) - 1,
        "overhead_low": min(ratios) - 1,
        "overhead_high": max(ratios) - 1,
        "cpu_overhead": statistics.median(cpu_ratios) - 1,
        "gflop_block": flop["block"] / 1e9,
        "gflop_recording": flop["recording"] / 1e9,
        "flop_share": flop["recording"] / flop["block"],
    }


def _flop(image_tokens: int) -> dict[str, float]:
    """Count the floating-point operations of one block, and of its recording, as matrix products:
    per token 4 projections and a feed-forward of 8 widths squared; attention over all tokens."""
    tokens = image_tokens + TEXT
    projections = 2 * tokens * (4 + 8) * WIDTH**2
    attention = 2 * 2 * tokens**2 * WIDTH
    return {
        "block": projections + attention,
        "recording": 2 * image_tokens * TEXT * WIDTH,
    }


def lines(figures: dict[str, Any]) -> list[str]:
    """Describe the figures."""
    return [
        f"joint attention, {figures['blocks']} blocks of Stable Diffusion 3 at "
        f"{figures['pixels']} px",
        f"  plain {figures['seconds_plain']:.3f} s, recorded {figures['seconds_recorded']:.3f} s",
        f"  overhead {figures['overhead']:+.1%} (rounds {figures['overhead_low']:+.1%} to "
        f"{figures['overhead_high']:+.1%}); of CPU time {figures['cpu_overhead']:+.1%}",
        f"  recording {figures['gflop_recording']:.2f} of {figures['gflop_block']:.1f} GFLOP per "
        f"block ({figures['flop_share']:.1%})",
    ]
