"""How probable it is that a caption is memorized, by the samples that a training run sees itself.

Shapes: B samples of a step.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from scanner.errors import UsageError
from scanner.mitigation.threshold import bins_of
from scanner.mitigation.two_groups import alternative_probability

LARGEST = 4.0
"""Of a standardized value: no single draw of noise decides."""
NORMAL_MAD = 1.4826
"""Standard deviations of a normal distribution per median absolute deviation."""


class _Seen(NamedTuple):
    """A recent sample: its noise level, its value, and that in units of the null (NaN: unknown)."""

    level: int
    caption: str
    value: float
    standard: float


class MovingNull:
    """P(memorized) per caption, against a null that moves with the run and needs no clean samples.

    The null of a noise level is estimated from the ``window`` most recent samples of all levels:
    the median of the level's values, and the median distance of those below it. Each caption
    counts once, with its latest value, so that a caption's repetitions do not make it usual; half
    of the distinct captions may be memorized before the median gives way. Recent samples rather
    than each caption's first exposure, since training moves the signal of every caption.

    One draw of noise says little, so a caption's last ``memory`` standardized values within the
    window are averaged. Their variance under the null is that of a one-way random-effects model:
    between captions, and within a caption divided by the number of values. P is by the two-groups
    model over the window's captions, see :func:`alternative_probability`.

    ``bins``: ranges of timesteps; ``warmup``: distinct captions per range before any of its samples
    counts; ``cutoff``: weights are 1 below this probability and 0 from it on, in place of 1 − P.
    """

    def __init__(
        self,
        bins: int = 10,
        window: int = 2048,
        warmup: int = 16,
        memory: int = 32,
        cutoff: float | None = None,
    ) -> None:
        if min(bins, window, memory) < 1 or warmup < 2:
            raise UsageError("guard: bins, window and memory must be positive, warmup at least 2")
        if cutoff is not None and not 0 < cutoff <= 1:
            raise UsageError(f"guard: cutoff {cutoff}: must be above 0 and at most 1")
        self.bins, self.warmup, self.memory, self.cutoff = bins, warmup, memory, cutoff
        self._recent: deque[_Seen] = deque(maxlen=window)

    def probabilities(self, timesteps_B: Tensor, risk_B: Tensor, captions: Sequence[str]) -> Tensor:
        """Return P(memorized) of a step's samples (B,), and remember them; 0 during the warm-up.

        ``risk_B``: the signal on a scale on which it is about normal, higher if memorized.
        """
        nulls = self._nulls()
        levels = bins_of(timesteps_B, self.bins).tolist()
        for level, caption, value in zip(levels, captions, risk_B.tolist(), strict=True):
            center, scale = nulls.get(level, (np.nan, np.nan))
            standard = float(np.clip((value - center) / scale, -LARGEST, LARGEST))
            self._recent.append(_Seen(level, caption, value, standard))
        found = self._by_caption()
        return torch.tensor([found.get(caption, 0.0) for caption in captions])

    def weights(self, probability_B: Tensor) -> Tensor:
        """Return the loss weights (B,) of samples with these probabilities."""
        if self.cutoff is None:
            return 1 - probability_B
        return (probability_B < self.cutoff).float()

    def _nulls(self) -> dict[int, tuple[float, float]]:
        """Return center and scale of each noise level with enough captions."""
        values: dict[int, dict[str, float]] = {}
        for seen in self._recent:
            values.setdefault(seen.level, {})[seen.caption] = seen.value
        return {
            level: center_and_scale(by_caption.values())
            for level, by_caption in values.items()
            if len(by_caption) >= self.warmup
        }

    def _by_caption(self) -> dict[str, float]:
        """Return P(memorized) of the window's captions."""
        values: dict[str, deque[float]] = {}
        for seen in self._recent:
            if seen.standard == seen.standard:
                values.setdefault(seen.caption, deque(maxlen=self.memory)).append(seen.standard)
        if len(values) < self.warmup:
            return {}
        count = np.array([len(each) for each in values.values()])
        mean = np.array([sum(each) / len(each) for each in values.values()])
        within = _variance_within(values.values())
        evidence = mean / np.sqrt(1 - within + within / count)
        center, scale = center_and_scale(evidence)
        found = alternative_probability(norm.sf((evidence - center) / scale))
        return dict(zip(values, found.tolist(), strict=True))


def center_and_scale(values: Iterable[float]) -> tuple[float, float]:
    """Return the median, and the standard deviation of a normal distribution whose lower half is
    that of the values: memorized ones are above."""
    array = np.fromiter(values, float)
    center = float(np.median(array))
    below = center - array[array < center]
    scale = NORMAL_MAD * float(np.median(below)) if len(below) else 0.0
    return center, max(scale, 1e-12)


def _variance_within(values: Iterable[Collection[float]]) -> float:
    """Return the variance of a caption's values around their mean, pooled, in units of the null."""
    squares, freedom = 0.0, 0
    for each in values:
        squares += sum(value * value for value in each) - sum(each) ** 2 / len(each)
        freedom += len(each) - 1
    return min(max(squares / freedom, 0.0), 1.0) if freedom else 1.0
