"""Where a training sample counts as memorized: a number, or what is usual at its noise level."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from scanner.errors import UsageError

TIMESTEPS = 1000  # of the training of every family here


class Threshold:
    """Fixed values of the signal: one, or one for each of equal ranges of the timesteps.

    The signals depend on the noise level, so that several are better than one; ``fixed`` of a
    running quantile over samples that are known not to be memorized gives them.
    """

    def __init__(self, values: Sequence[float]) -> None:
        if not values:
            raise UsageError("guard: a threshold needs at least one value")
        self.values = torch.tensor(values, dtype=torch.float32)

    def at(self, timesteps_B: Tensor) -> Tensor:
        """(B,): the values at these timesteps; NaN where none is known yet."""
        return self.values[self._bins(timesteps_B)]

    def see(self, timesteps_B: Tensor, statistic_B: Tensor, sign: float) -> None:
        """What samples had; a fixed threshold learns nothing from it."""

    def fixed(self) -> "Threshold":
        """The thresholds as they are now, for good."""
        return Threshold(self.values.tolist())

    def _bins(self, timesteps_B: Tensor) -> Tensor:
        share = timesteps_B.double() * len(self.values) / TIMESTEPS
        return share.long().clamp(0, len(self.values) - 1)


class RunningQuantile(Threshold):
    """The quantile of the signal over the last samples of each range of timesteps.

    It leaves out about 1 − ``quantile`` of what it sees, memorized or not: choose it above the
    share of the data that is thought clean. ``bins``: ranges of timesteps; ``window``: samples
    remembered in each; ``warmup``: how many of them it takes before anything is left out.
    """

    def __init__(
        self, quantile: float = 0.9, bins: int = 10, window: int = 512, warmup: int = 64
    ) -> None:
        if not 0 < quantile < 1:
            raise UsageError(f"guard: quantile {quantile}: between 0 and 1")
        super().__init__([float("nan")] * bins)
        self.quantile, self.warmup = quantile, warmup
        self._seen: list[deque[float]] = [deque(maxlen=window) for _ in range(bins)]

    def see(self, timesteps_B: Tensor, statistic_B: Tensor, sign: float) -> None:
        places = self._bins(timesteps_B).tolist()
        for place, value in zip(places, statistic_B.tolist(), strict=True):
            self._seen[place].append(sign * value)
        for place in set(places):
            if len(self._seen[place]) >= self.warmup:
                risk = torch.tensor(self._seen[place]).quantile(self.quantile)
                self.values[place] = sign * risk
