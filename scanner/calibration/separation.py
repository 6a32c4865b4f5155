"""AUC and true-positive rate of one signal, with intervals from a bootstrap over clusters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATES = (0.001, 0.01, 0.03)
# A rate as small as this is told by whole clusters only, so it takes as many as its inverse.
SMALL = 0.001
REPLICATES = 1000
LEVEL = 0.95
SEED = 0
BLOCK = 1 << 23

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Operation:
    """What a threshold catches: ``threshold`` is the least extreme score that flags, None where no
    score keeps the false-positive rate."""

    tpr: float
    tpr_low: float
    tpr_high: float
    threshold: float | None


@dataclass(frozen=True)
class Separation:
    """How well scores tell positive captions: .5 is chance, 1 perfect, below .5 the wrong way.

    ``at``: by false-positive rate; without 0.1 % for fewer than 1,000 negative clusters.
    """

    auc: float
    auc_low: float
    auc_high: float
    at: dict[float, Operation]


@dataclass(frozen=True)
class Gain:
    """How much more AUC one score has than another on the same captions, and its interval."""

    auc: float
    low: float
    high: float


def separation(scores: Floats, positive: Bools, clusters: NDArray, way: int = 1) -> Separation:
    """Separation of N captions, with 95 % percentile intervals.

    ``way``: 1 if higher scores mean positive, −1 if lower ones do. Whole clusters are drawn with
    replacement, since near-copies of a caption are no independent evidence (signals.md, detection
    figures). Ties count half. Raises ValueError unless there are captions of both kinds.
    """
    auc, tpr = _replicates(way * scores, positive, clusters, RATES)
    low, high = _interval(auc)
    negative = len(np.unique(clusters[~positive]))
    at = {
        rate: Operation(
            float(tpr[0, k]), *_interval(tpr[:, k]), threshold(scores, positive, rate, way)
        )
        for k, rate in enumerate(RATES)
        if rate > SMALL or rate * negative >= 1
    }
    return Separation(float(auc[0]), low, high, at)


def gain(scores: Floats, baseline: Floats, positive: Bools, clusters: NDArray) -> Gain:
    """AUC of ``scores`` less that of ``baseline``, in the same draws of clusters."""
    difference = (
        _replicates(scores, positive, clusters, ())[0]
        - _replicates(baseline, positive, clusters, ())[0]
    )
    return Gain(float(difference[0]), *_interval(difference))


def threshold(scores: Floats, positive: Bools, rate: float, way: int = 1) -> float | None:
    """The least extreme score that flags at most ``rate`` of the negatives; None if none does."""
    values = np.unique(way * scores)
    negative = np.sort(way * scores[~positive])
    alarms = (len(negative) - np.searchsorted(negative, values, side="left")) / len(negative)
    kept = values[alarms <= rate]
    return way * float(kept[0]) if len(kept) else None


def _interval(replicates: Floats) -> tuple[float, float]:
    """The percentile interval; the first replicate is the data themselves."""
    low, high = np.nanquantile(replicates[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _replicates(
    scores: Floats, positive: Bools, clusters: NDArray, rates: tuple[float, ...]
) -> tuple[Floats, Floats]:
    """AUC (R,) and TPR by rate (R, K) of the data and of R − 1 draws of clusters."""
    if positive.all() or not positive.any():
        raise ValueError("separation needs positive and negative captions")
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    _, cluster = np.unique(clusters, return_inverse=True)
    cluster, positive = cluster[order], positive[order]
    count = int(cluster.max()) + 1
    random = np.random.default_rng(SEED)
    parts = [_curves(np.ones((1, len(scores))), positive, starts, rates)]
    block = max(1, BLOCK // len(scores))
    for done in range(0, REPLICATES, block):
        size = min(block, REPLICATES - done)
        draws = random.multinomial(count, np.full(count, 1 / count), size=size)
        parts.append(_curves(draws[:, cluster].astype(float), positive, starts, rates))
    return np.concatenate([auc for auc, _ in parts]), np.concatenate([tpr for _, tpr in parts])


def _curves(
    weights: Floats, positive: Bools, starts: NDArray[np.intp], rates: tuple[float, ...]
) -> tuple[Floats, Floats]:
    """AUC and TPR at K FPRs for each row of weights (R, N), captions sorted by rising score.

    ``starts``: where each run of equal scores begins. NaN where a draw lacks one kind.
    """
    yes = np.add.reduceat(weights * positive, starts, axis=1)
    no = np.add.reduceat(weights * ~positive, starts, axis=1)
    total_yes, total_no = yes.sum(1, keepdims=True), no.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.cumsum(no, axis=1) - no / 2
        auc = (yes * below).sum(1) / (total_yes * total_no)[:, 0]
        caught = np.cumsum(yes[:, ::-1], axis=1) / total_yes
        alarms = np.cumsum(no[:, ::-1], axis=1) / total_no
    tpr = np.empty((len(weights), len(rates)))
    for k, rate in enumerate(rates):
        at_rate = np.where(alarms <= rate, caught, 0.0).max(1)
        tpr[:, k] = np.where(np.isfinite(auc), at_rate, np.nan)
    return auc, tpr
