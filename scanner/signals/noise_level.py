"""Noise levels at which a signal is measured on pure noise."""

from collections.abc import Sequence
from typing import Literal

NoiseLevel = Literal["first", "mid", "low"] | int
"""The noise level of a forward on pure noise: ``first``, the schedule's noisiest step; ``low``, its
low-noise step; ``mid``, half of the training timesteps, which is σ = 0.5 of flow matching; or a
timestep."""
FIRST: NoiseLevel = "first"
MID: NoiseLevel = "mid"
LOW: NoiseLevel = "low"
LOW_NOISE_STEP = -3


def timestep(level: NoiseLevel, times: Sequence[float], training_steps: int = 1000) -> float:
    """Return the timestep of a noise level, given the denoising's timesteps, noisiest first.

    The low-noise step is the third from last, or the last of fewer than three.
    """
    if level == FIRST:
        return times[0]
    if level == LOW:
        return times[LOW_NOISE_STEP] if len(times) >= -LOW_NOISE_STEP else times[-1]
    if level == MID:
        return training_steps // 2
    return int(level)
