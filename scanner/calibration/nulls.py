"""Without labels: how surprising a score is among captions that are not memorized.

A null gives each score a level, and each level a p-value; candidates are counted by level, so that
a billion of them take no memory.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from scanner.calibration.separation import Floats
from scanner.errors import UserError

Levels = NDArray[np.int64]
SIGMAS = 40
STEPS = 256  # a standard deviation
# m · p = q · length is as often an equality as not: the fractions' last digit must not decide.
ROUNDING = 1e-12


class Null(Protocol):
    """``p``: the p-value of each level, rising; ``starts``: the lowest score of each level."""

    p: Floats
    starts: Floats

    def levels(self, scores: Floats) -> Levels:
        """The level of each score, 0 the most surprising."""


class Conformal:
    """p = (1 + #{null ≥ score}) / (1 + n₀), from n₀ captions that are exchangeable with the
    candidates that are not memorized: then P(p ≤ u) ≤ u for each of those, whatever the scores'
    distribution (Vovk et al. 2005; Bates et al. 2023 for Benjamini–Hochberg on them).
    """

    def __init__(self, null: Floats) -> None:
        if not len(null):
            raise UserError(
                "no reference captions to compare with: scan with --reference FILE, captions that "
                "the model was not trained on; or --null bulk, which assumes that the run's own "
                "scores are normal but for a few"
            )
        self._null = np.sort(null)
        self.p = (1 + np.arange(len(null) + 1)) / (1 + len(null))
        # Just above a null score, since an equal one counts as at least as high.
        self.starts = np.append(np.nextafter(self._null[::-1], np.inf), -np.inf)

    def levels(self, scores: Floats) -> Levels:
        return len(self._null) - np.searchsorted(self._null, scores, side="left")


class Bulk:
    """p of a normal distribution fitted to the middle half of the candidates themselves.

    An assumption, twice: that few candidates are memorized, and that the others' tail is normal
    (Efron 2004 calls it the empirical null). ``sample``: scores it is fitted to.
    """

    def __init__(self, sample: Floats) -> None:
        if not len(sample):
            raise UserError("the run ranks no captions: there is no bulk to compare them with")
        low, self.centre, high = np.quantile(sample, [0.25, 0.5, 0.75])
        self.spread = float((high - low) / (norm.ppf(0.75) - norm.ppf(0.25)))
        if not self.spread > 0:
            raise UserError("half of the captions have one and the same score; no null can be fit")
        # Whole steps below 40 standard deviations: each level has the p-value of its lowest score.
        self._heights = SIGMAS - np.arange(2 * SIGMAS * STEPS + 1) / STEPS
        self.p = np.maximum(norm.sf(self._heights), np.finfo(float).tiny)
        self.starts = self.centre + self.spread * self._heights

    def levels(self, scores: Floats) -> Levels:
        steps = np.ceil((SIGMAS - (scores - self.centre) / self.spread) * STEPS)
        return np.clip(steps, 0, len(self.p) - 1).astype(np.int64)


@dataclass(frozen=True)
class Listed:
    """The candidates that a wanted false discovery rate lets through.

    ``length`` of ``candidates`` have p ≤ ``p``, that is a score of at least ``threshold`` (None for
    an empty list); ``expected_false``, candidates · p, is how many of them are not memorized at
    most, on average. ``smallest``: no shorter list can be supported, m / (q (n₀ + 1)).
    """

    fdr: float
    candidates: int
    length: int
    p: float
    threshold: float | None
    expected_false: float
    smallest: int


def list_discoveries(null: Null, counts: Levels, fdr: float) -> Listed:
    """Benjamini and Hochberg's (1995) longest list at a false discovery rate.

    ``counts``: candidates at each level of the null.
    """
    total = int(counts.sum())
    listed = np.cumsum(counts)
    supported = np.flatnonzero((counts > 0) & (total * null.p <= fdr * listed * (1 + ROUNDING)))
    smallest = int(np.ceil(total * null.p[0] / fdr * (1 - ROUNDING)))
    if not len(supported):
        return Listed(fdr, total, 0, 0.0, None, 0.0, smallest)
    level = supported[-1]
    p = float(null.p[level])
    threshold = float(null.starts[level])
    return Listed(fdr, total, int(listed[level]), p, threshold, total * p, smallest)


def count_levels(null: Null, scores: Floats) -> Levels:
    """How many scores there are at each level."""
    return np.bincount(null.levels(scores), minlength=len(null.p)).astype(np.int64)
