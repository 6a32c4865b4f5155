"""Noise levels at which a signal is measured on pure noise."""

from collections.abc import Sequence
from typing import Literal

NoiseLevel = Literal["first", "low"] | int
"""The noise level of a forward on pure noise: ``first``, the schedule's noisiest step; ``low``, its
low-noise step; or a timestep."""
FIRST: NoiseLevel = "first"
LOW: NoiseLevel = "low"
LOW_NOISE_STEP = -3


def timestep(level: NoiseLevel, times: Sequence[int]) -> int:
    """Return the timestep of a noise level, given the denoising's timesteps, noisiest first.

    The low-noise step is the third from last, or the last of fewer than three.
    """
    if level == FIRST:
        return times[0]
    if level == LOW:
        return times[LOW_NOISE_STEP] if len(times) >= -LOW_NOISE_STEP else times[-1]
    return int(level)
