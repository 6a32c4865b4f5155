"""P-values against a null of captions that are not memorized, and Benjamini–Hochberg selection.

A null assigns each score a level and each level a p-value. Candidates are counted per level, so
memory does not grow with their number.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scanner.calibration.statistics.bootstrap import Floats
from scanner.errors import UserError

Levels = NDArray[np.int64]
SIGMAS = 40
STEPS = 256  # per standard deviation
# m · p = q · length often holds with equality: rounding must not decide.
ROUNDING = 1e-12


class Null(Protocol):
    """``p``: p-value of each level, ascending; ``thresholds``: lowest score of each level."""

    p: Floats
    thresholds: Floats

    def levels(self, scores: Floats) -> Levels:
        """Return the level of each score; 0 has the smallest p-value."""


class Conformal:
    """Conformal p-values, p = (1 + #{null ≥ score}) / (1 + n₀).

    If the n₀ null captions are exchangeable with the candidates that are not memorized, those
    satisfy P(p ≤ u) ≤ u whatever the distribution of the scores (Vovk et al. 2005; Bates et al.
    2023 for Benjamini–Hochberg on such p-values).
    """

    def __init__(self, null: Floats) -> None:
        if not len(null):
            raise UserError(
                "the run has no reference captions: scan with --reference FILE (captions that the "
                "model was not trained on), or use --null bulk, which assumes that the run's "
                "scores are normally distributed except for a few"
            )
        self._null = np.sort(null)
        self.p = (1 + np.arange(len(null) + 1)) / (1 + len(null))
        # Just above a null score, since ties count as at least as high.
        self.thresholds = np.append(np.nextafter(self._null[::-1], np.inf), -np.inf)

    def levels(self, scores: Floats) -> Levels:
        return len(self._null) - np.searchsorted(self._null, scores, side="left")


class Bulk:
    """P-values of a normal distribution fitted to the middle half of the candidates' own scores.

    Assumes that few candidates are memorized and that the scores of the others have a normal tail
    (the empirical null of Efron 2004). ``sample``: the scores to fit.
    """

    def __init__(self, sample: Floats) -> None:
        from scipy.stats import norm  # loads slowly

        if not len(sample):
            raise UserError("--null bulk: the run has no ranked captions to fit a null to")
        low, self.center, high = np.quantile(sample, [0.25, 0.5, 0.75])
        self.spread = float((high - low) / (norm.ppf(0.75) - norm.ppf(0.25)))
        if not self.spread > 0:
            raise UserError(
                "--null bulk: half of the captions have the same score, so no null can be fitted; "
                "choose another signal with --by"
            )
        # Levels in steps from +40 to −40 standard deviations, with the p-value of the lowest score.
        self._heights = SIGMAS - np.arange(2 * SIGMAS * STEPS + 1) / STEPS
        self.p = np.maximum(norm.sf(self._heights), np.finfo(float).tiny)
        self.thresholds = self.center + self.spread * self._heights

    def levels(self, scores: Floats) -> Levels:
        steps = np.ceil((SIGMAS - (scores - self.center) / self.spread) * STEPS)
        return np.clip(steps, 0, len(self.p) - 1).astype(np.int64)


@dataclass(frozen=True)
class Selection:
    """Candidates selected at a target FDR.

    ``length`` of ``candidates`` have a p-value ≤ ``p``, that is a score of at least ``threshold``
    (None for an empty selection). ``expected_false`` = candidates · p bounds the expected number of
    them that are not memorized. ``smallest``: the shortest selection possible, m / (q (n₀ + 1)).
    """

    fdr: float
    candidates: int
    length: int
    p: float
    threshold: float | None
    expected_false: float
    smallest: int


def benjamini_hochberg(null: Null, counts: Levels, fdr: float) -> Selection:
    """Return the longest selection at a target FDR (Benjamini and Hochberg 1995).

    ``counts``: number of candidates at each level of the null.
    """
    total = int(counts.sum())
    lengths = np.cumsum(counts)
    supported = np.flatnonzero((counts > 0) & (total * null.p <= fdr * lengths * (1 + ROUNDING)))
    smallest = int(np.ceil(total * null.p[0] / fdr * (1 - ROUNDING)))
    if not len(supported):
        return Selection(fdr, total, 0, 0.0, None, 0.0, smallest)
    level = supported[-1]
    p = float(null.p[level])
    threshold = float(null.thresholds[level])
    return Selection(fdr, total, int(lengths[level]), p, threshold, total * p, smallest)


def count_levels(null: Null, scores: Floats) -> Levels:
    """Count the scores at each level."""
    return np.bincount(null.levels(scores), minlength=len(null.p)).astype(np.int64)
