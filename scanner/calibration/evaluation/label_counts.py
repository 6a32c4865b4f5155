"""Estimate how precise an evaluation would be with fewer or more labels of the same kinds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.calibration.evaluation.separation import draw_replicates
from scanner.calibration.statistics.bootstrap import BLOCK, SEED, Bools, Floats, interval
from scanner.calibration.statistics.wilson import wilson

FACTORS = (0.5, 1, 2, 4, 8, 16)
DRAWS = 500
FPR = 0.01
ENOUGH_TPR = 0.05
"""Half-width of the interval of the true-positive rate that is precise enough."""
ENOUGH_FPR = 0.02
"""Upper end of the interval of the false-positive rate of a 1 % threshold."""


@dataclass(frozen=True)
class LabelCount:
    """Precision with so many clusters of labeled captions of either kind, ``factor`` times those
    that there are.

    ``auc``, ``tpr``: half-widths of the 95 % intervals of the AUC and of the true-positive rate at
    1 % false positives. ``fpr_low``, ``fpr_high``: where the false-positive rate of a threshold
    lies whose rate on the labels is 1 %.
    """

    factor: float
    memorized: int
    others: int
    auc: float
    tpr: float
    fpr_low: float
    fpr_high: float

    @property
    def is_enough(self) -> bool:
        return round(self.tpr, 3) <= ENOUGH_TPR and round(self.fpr_high, 3) <= ENOUGH_FPR


def label_counts(
    scores: Floats, memorized: Bools, clusters: NDArray, weights: Floats | None = None
) -> list[LabelCount]:
    """Return the precision for multiples (FACTORS) of the clusters that are labeled.

    Captions of either kind are drawn in whole clusters, with replacement, as many as there would
    be. ``scores``: (N,), higher for memorized captions; ``weights``: how many captions each
    represents.
    """
    each = np.ones(len(clusters)) if weights is None else weights
    present = [len(np.unique(clusters[kind])) for kind in (memorized, ~memorized)]
    counts = []
    for factor in FACTORS:
        yes, no = (max(1, round(factor * number)) for number in present)
        draws = (block * each for block in _draws(clusters, memorized, yes, no))
        auc, tpr = draw_replicates(scores, memorized, (FPR,), draws)
        middle = float(np.nanmean(tpr[:, 0]))
        counts.append(
            LabelCount(
                factor,
                yes,
                no,
                _half(*interval(auc)),
                # Draws of captions that are all found, or all missed, do not vary at all.
                max(_half(*interval(tpr[:, 0])), _half(*wilson(middle, yes))),
                *wilson(FPR, no),
            )
        )
    return counts


def _draws(clusters: NDArray, memorized: Bools, yes: int, no: int) -> Iterator[Floats]:
    """Yield blocks (B, N) of how often each caption is drawn; the first row is the data itself."""
    random = np.random.default_rng(SEED)
    yield np.ones((1, len(clusters)))
    size = max(1, BLOCK // len(clusters))
    for done in range(0, DRAWS, size):
        drawn = np.empty((min(size, DRAWS - done), len(clusters)))
        for kind, count in ((memorized, yes), (~memorized, no)):
            names, own = np.unique(clusters[kind], return_inverse=True)
            share = np.full(len(names), 1 / len(names))
            drawn[:, kind] = random.multinomial(count, share, size=len(drawn))[:, own]
        yield drawn


def _half(low: float, high: float) -> float:
    return (high - low) / 2 if math.isfinite(high - low) else math.nan
