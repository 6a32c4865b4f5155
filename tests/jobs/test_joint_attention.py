"""The joint-attention benchmark records in its recorded rounds, and counts as torch does."""

import pytest
import torch
from diffusers.models.attention import JointTransformerBlock
from torch.utils.flop_counter import FlopCounterMode

from jobs.bench import joint_attention


def test_both_variants_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_attention, "HEADS", 2)
    monkeypatch.setattr(joint_attention, "WIDTH", 128)
    monkeypatch.setattr(joint_attention, "PATCHES", {512: 4})
    figures = joint_attention.measure(rounds=2)
    assert figures["image_tokens"] == 16
    assert min(figures["seconds_plain"], figures["seconds_recorded"]) > 0
    assert figures["overhead_low"] <= figures["overhead"] <= figures["overhead_high"]
    assert "overhead" in "\n".join(joint_attention.lines(figures))


def test_a_blocks_operations_are_counted_as_torch_counts_them() -> None:
    width, text = joint_attention.WIDTH, joint_attention.TEXT
    with torch.device("meta"):
        block = JointTransformerBlock(width, joint_attention.HEADS, joint_attention.HEAD_WIDTH)
        inputs = torch.empty(1, 256, width), torch.empty(1, text, width), torch.empty(1, width)
    with FlopCounterMode(display=False) as counter:
        block(*inputs)
    modulation = 2 * 2 * 6 * width**2  # of the time embedding, once per stream
    assert joint_attention._flop(256)["block"] + modulation == counter.get_total_flops()
