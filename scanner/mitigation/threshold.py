"""Thresholds for a guard: fixed, or a running quantile per noise level."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from scanner.errors import UsageError

TIMESTEPS = 1000  # training timesteps of every supported family


def bins_of(timesteps_B: Tensor, bins: int) -> Tensor:
    """Return in which of as many equal ranges of timesteps each is, from 0: (B,)."""
    return (timesteps_B.double() * bins / TIMESTEPS).long().clamp(0, bins - 1)


class Threshold:
    """Fixed thresholds on the signal: one, or one per equal range of timesteps.

    The signals depend on the noise level, so several are better than one. To measure them, run a
    :class:`RunningQuantile` over samples known not to be memorized, then ``freeze`` it.
    """

    def __init__(self, values: Sequence[float]) -> None:
        if not values:
            raise UsageError("guard: a threshold needs at least one value")
        self.values = torch.tensor(values, dtype=torch.float32)

    def at(self, timesteps_B: Tensor) -> Tensor:
        """Return the thresholds at these timesteps (B,); NaN if not yet known."""
        return self.values[self._bins(timesteps_B)]

    def update(self, timesteps_B: Tensor, statistic_B: Tensor, sign: float) -> None:
        """Update from the samples of a step; a fixed threshold stays the same."""

    def freeze(self) -> "Threshold":
        """Return the current thresholds as fixed ones."""
        return Threshold(self.values.tolist())

    def _bins(self, timesteps_B: Tensor) -> Tensor:
        return bins_of(timesteps_B, len(self.values))


class RunningQuantile(Threshold):
    """Quantile of the signal over the most recent samples of each range of timesteps.

    It excludes about 1 − ``quantile`` of all samples, memorized or not: choose at least the share
    of the data that you expect to be clean. ``bins``: number of timestep ranges; ``window``:
    samples remembered per range; ``warmup``: samples per range before any is excluded.
    """

    def __init__(
        self, quantile: float = 0.9, bins: int = 10, window: int = 512, warmup: int = 64
    ) -> None:
        if not 0 < quantile < 1:
            raise UsageError(f"guard: quantile {quantile}: must be between 0 and 1")
        super().__init__([float("nan")] * bins)
        self.quantile, self.warmup = quantile, warmup
        self._recent: list[deque[float]] = [deque(maxlen=window) for _ in range(bins)]

    def update(self, timesteps_B: Tensor, statistic_B: Tensor, sign: float) -> None:
        bins = self._bins(timesteps_B).tolist()
        for number, value in zip(bins, statistic_B.tolist(), strict=True):
            self._recent[number].append(sign * value)
        for number in set(bins):
            if len(self._recent[number]) >= self.warmup:
                risk = torch.tensor(self._recent[number]).quantile(self.quantile)
                self.values[number] = sign * risk
