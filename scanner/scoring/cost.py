"""Count the floating-point operations per caption."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from scanner.probe import RecordingUNet, record_prefix
from scanner.scoring.schedule import Schedule
from scanner.scoring.scorer import Scorer


@dataclass(frozen=True)
class Cost:
    """GFLOP of the U-Net.

    per_caption: over all seeds. shared: once for all captions. forward: one plain forward of the
    whole U-Net, for comparison. text_encoder: per caption, not included in ``per_caption``.
    """

    per_caption: float
    shared: float
    forward: float
    text_encoder: float


def cost(scorer: Scorer) -> Cost:
    """Count the schedule's forwards on the meta device, where nothing is computed.

    (On a CPU the counter misses fused attention.) A backward counts as two forwards.
    """
    model, plan = scorer.model, scorer.schedule
    empty = model.encode_empty()
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(model.unet.config)
        latents = torch.empty((1, *scorer.latent_shape))
        text = torch.empty(empty.hidden_BLC.shape)
        added = {name: torch.empty(value.shape) for name, value in empty.added.items()}

    def forward() -> None:
        unet(latents, torch.zeros(1, device="meta"), text, added_cond_kwargs=added or None)

    with record_prefix(unet) as prefix:
        whole = _gflop(forward)

    @cache
    def shared(depth: int | None) -> float:
        recording = RecordingUNet(unet, model.layers, depth)
        recording.load(latents, 0, prefix)
        return _gflop(lambda: recording(text, added))

    on_noise = sum(shared(depth) for depth in plan.on_noise.values())
    later = 2 * whole * plan.later_steps
    gradient = 3 * whole if plan.gradient else 0.0
    return Cost(
        per_caption=scorer.seeds * (on_noise + later + gradient),
        shared=scorer.seeds * _shared(plan, whole, whole - shared(None)),
        forward=whole,
        text_encoder=_text_gflop(scorer),
    )


def _shared(plan: Schedule, whole: float, prefix: float) -> float:
    """Return GFLOP of ε_∅ where the schedule needs a difference, else of the prefix only."""
    return sum(whole if depth is None else prefix for depth in plan.on_noise.values())


def _gflop(run: Callable[[], None]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def _text_gflop(scorer: Scorer) -> float:
    length = scorer.model.tokenizer.model_max_length
    return sum(
        _encoder_gflop(getattr(scorer.model, part), length)
        for part in scorer.model.parts
        if part != "unet"
    )


def _encoder_gflop(encoder: torch.nn.Module, length: int) -> float:
    with torch.device("meta"):
        copy = type(encoder)(encoder.config)
        ids = torch.zeros((1, length), dtype=torch.long)
    return _gflop(lambda: copy(ids))
