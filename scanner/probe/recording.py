"""Instrument any supported denoiser."""

from typing import Any

from diffusers import UNet2DConditionModel
from torch import nn

from scanner.probe.recording_transformer import RecordingTransformer, Run
from scanner.probe.recording_unet import RecordingUNet

RecordingDenoiser = RecordingUNet | RecordingTransformer


def recording_denoiser(
    denoiser: nn.Module,
    layers: list[str],
    run: Run,
    depth: int | None = None,
    attend: Any = None,
    equal_tail: int = 0,
) -> RecordingDenoiser:
    """Return an instrumented copy of a denoiser, over the same weights.

    ``layers``: names of its attention modules in run order. ``run``: the family's forward.
    ``depth``: how many layers to run; None runs the whole denoiser. ``attend``: of
    :func:`scanner.probe.choose_attend`.
    ``equal_tail``: how many of the last text positions are equal for every caption.
    """
    if isinstance(denoiser, UNet2DConditionModel):
        return RecordingUNet(denoiser, layers, depth, **({"attend": attend} if attend else {}))
    return RecordingTransformer(denoiser, layers, run, depth, attend, equal_tail)
