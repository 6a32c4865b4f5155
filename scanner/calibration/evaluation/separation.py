"""AUC and true-positive rates of a signal, with intervals from a bootstrap over clusters."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.calibration.statistics.bootstrap import Bools, Floats, interval, replicate_weights

FPRS = (0.001, 0.01, 0.03)
# Rates up to this one are reported only with at least 1 / rate negative clusters.
SMALL_FPR = 0.001


@dataclass(frozen=True)
class OperatingPoint:
    """True-positive rate with its interval at a false-positive rate. ``threshold``: the least
    extreme score that is flagged, None if no score keeps the rate."""

    tpr: float
    tpr_low: float
    tpr_high: float
    threshold: float | None


@dataclass(frozen=True)
class Separation:
    """How well scores separate positive captions. AUC below 0.5: the direction is reversed.

    ``at_fpr``: by false-positive rate; omits 0.1 % for fewer than 1,000 negative clusters.
    """

    auc: float
    auc_low: float
    auc_high: float
    at_fpr: dict[float, OperatingPoint]

    @property
    def is_reversed(self) -> bool:
        """Whether the labels refute the direction: the whole interval of the AUC is below 0.5."""
        return self.auc_high < 0.5

    def to_json(self) -> dict[str, float]:
        """Return the AUC and the rate at 1 % false positives, with their intervals."""
        point = self.at_fpr[0.01]
        return {
            "auc": self.auc,
            "auc_low": self.auc_low,
            "auc_high": self.auc_high,
            "tpr_at_1pct_fpr": point.tpr,
            "tpr_low": point.tpr_low,
            "tpr_high": point.tpr_high,
        }


@dataclass(frozen=True)
class AucGain:
    """Difference in AUC between two scores on the same captions, with its interval."""

    auc: float
    low: float
    high: float


def separation(
    scores: Floats,
    positive: Bools,
    clusters: NDArray,
    direction: int = 1,
    among: Bools | None = None,
    weights: Floats | None = None,
) -> Separation:
    """Measure the separation of N captions, with 95 % percentile intervals.

    ``direction``: 1 if higher scores mean positive, −1 if lower. ``among``: the captions (N,) to
    measure on, by default all; the bootstrap draws the clusters of all N in any case. Ties count
    half. ``weights``: how many captions each of them (N,) represents, by default one. Raises
    ValueError unless both classes have captions.
    """
    auc, tpr = replicates(direction * scores, positive, clusters, FPRS, among, weights)
    low, high = interval(auc)
    if among is not None:
        scores, positive, clusters = scores[among], positive[among], clusters[among]
        weights = None if weights is None else weights[among]
    negative = len(np.unique(clusters[~positive]))
    at_fpr = {
        fpr: OperatingPoint(
            float(tpr[0, k]),
            *interval(tpr[:, k]),
            threshold_at_fpr(scores, positive, fpr, direction, weights),
        )
        for k, fpr in enumerate(FPRS)
        if fpr > SMALL_FPR or fpr * negative >= 1
    }
    return Separation(float(auc[0]), low, high, at_fpr)


def auc_gain(
    scores: Floats,
    baseline: Floats,
    positive: Bools,
    clusters: NDArray,
    weights: Floats | None = None,
) -> AucGain:
    """Return the AUC of ``scores`` minus that of ``baseline``, on the same bootstrap draws."""
    difference = (
        replicates(scores, positive, clusters, (), None, weights)[0]
        - replicates(baseline, positive, clusters, (), None, weights)[0]
    )
    return AucGain(float(difference[0]), *interval(difference))


def threshold_at_fpr(
    scores: Floats,
    positive: Bools,
    fpr: float,
    direction: int = 1,
    weights: Floats | None = None,
) -> float | None:
    """Return the least extreme score that flags at most ``fpr`` of the negatives, None if none."""
    values = np.unique(direction * scores)
    negative = direction * scores[~positive]
    order = np.argsort(negative, kind="stable")
    each = np.ones(len(order)) if weights is None else weights[~positive][order]
    below = np.concatenate([[0.0], np.cumsum(each)])
    places = np.searchsorted(negative[order], values, side="left")
    fprs = (below[-1] - below[places]) / below[-1]
    admissible = values[fprs <= fpr]
    return direction * float(admissible[0]) if len(admissible) else None


def replicates(
    scores: Floats,
    positive: Bools,
    clusters: NDArray,
    fprs: tuple[float, ...],
    among: Bools | None = None,
    weights: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return AUC (R,) and TPR per FPR (R, K) of the data and of R − 1 draws of clusters.

    The draws depend only on the clusters, so differences between scores are paired.
    """
    if among is not None:
        scores, positive = scores[among], positive[among]
    if positive.all() or not positive.any():
        raise ValueError("separation needs positive and negative captions")
    each = np.ones(len(clusters)) if weights is None else weights
    each = each if among is None else each[among]
    draws = (drawn * each for drawn in replicate_weights(clusters, among))
    return draw_replicates(scores, positive, fprs, draws)


def draw_replicates(
    scores: Floats, positive: Bools, fprs: tuple[float, ...], draws: Iterable[Floats]
) -> tuple[Floats, Floats]:
    """Return AUC (R,) and TPR per FPR (R, K) of R draws; ``draws``: blocks (B, N) of weights."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    parts = [_curves(block[:, order], positive[order], starts, fprs) for block in draws]
    return np.concatenate([auc for auc, _ in parts]), np.concatenate([tpr for _, tpr in parts])


def _curves(
    weights: Floats, positive: Bools, starts: NDArray[np.intp], fprs: tuple[float, ...]
) -> tuple[Floats, Floats]:
    """Return AUC and TPR at K FPRs for each row of weights (R, N), captions in ascending order.

    ``starts``: index of the first of each run of equal scores. NaN if a draw lacks one class.
    """
    yes = np.add.reduceat(weights * positive, starts, axis=1)
    no = np.add.reduceat(weights * ~positive, starts, axis=1)
    total_yes, total_no = yes.sum(1, keepdims=True), no.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.cumsum(no, axis=1) - no / 2
        auc = (yes * below).sum(1) / (total_yes * total_no)[:, 0]
        tprs = np.cumsum(yes[:, ::-1], axis=1) / total_yes
        false_positives = np.cumsum(no[:, ::-1], axis=1) / total_no
    tpr = np.empty((len(weights), len(fprs)))
    for k, fpr in enumerate(fprs):
        best = np.where(false_positives <= fpr, tprs, 0.0).max(1)
        tpr[:, k] = np.where(np.isfinite(auc), best, np.nan)
    return auc, tpr
