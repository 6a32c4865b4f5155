"""AUC and true-positive rate of one signal, with intervals from a bootstrap over clusters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
LEVEL = 0.95
SEED = 0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Separation:
    """How well higher scores mean positive: .5 is chance, 1 perfect, below .5 the wrong way."""

    auc: float
    auc_low: float
    auc_high: float
    tpr_at_1pct_fpr: float
    tpr_low: float
    tpr_high: float


def separation(scores: Floats, positive: NDArray[np.bool_], clusters: NDArray) -> Separation:
    """Separation of N captions, with 95 % percentile intervals.

    Whole clusters are drawn with replacement, since near-copies of a caption are no independent
    evidence (signals.md, detection figures). Ties count half. Raises ValueError unless there are
    captions of both kinds.
    """
    if positive.all() or not positive.any():
        raise ValueError("separation needs positive and negative captions")
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    positive = positive[order]
    _, cluster = np.unique(clusters, return_inverse=True)
    cluster = cluster[order]

    random = np.random.default_rng(SEED)
    count = int(cluster.max()) + 1
    draws = random.multinomial(count, np.full(count, 1 / count), size=REPLICATES)
    weights = np.vstack([np.ones(len(scores)), draws[:, cluster].astype(float)])
    auc, tpr = _curves(weights, positive, starts)
    edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    auc_low, auc_high = np.nanquantile(auc[1:], edges)
    tpr_low, tpr_high = np.nanquantile(tpr[1:], edges)
    return Separation(*(float(x) for x in (auc[0], auc_low, auc_high, tpr[0], tpr_low, tpr_high)))


def _curves(
    weights: Floats, positive: NDArray[np.bool_], starts: NDArray[np.intp], fpr: float = 0.01
) -> tuple[Floats, Floats]:
    """AUC and TPR at an FPR for each row of weights (R, N), captions sorted by rising score.

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
    tpr = np.where(alarms <= fpr, caught, 0.0).max(1)
    return auc, np.where(np.isfinite(auc), tpr, np.nan)
