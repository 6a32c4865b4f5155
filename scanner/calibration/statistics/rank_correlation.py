"""Spearman's rank correlation, with an interval from a bootstrap over clusters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.calibration.statistics.bootstrap import Bools, Floats, interval, replicate_weights


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ with its 95 % percentile interval."""

    rho: float
    low: float
    high: float


def rank_correlation(
    scores: Floats, strengths: Floats, clusters: NDArray, among: Bools
) -> RankCorrelation | None:
    """Correlate the ranks of ``scores`` and ``strengths`` of the captions ``among`` N; None if one
    of them is constant.

    Ties have their mean rank, in every draw of clusters.
    """
    one, two = _Ranks(scores[among]), _Ranks(strengths[among])
    rho = np.concatenate(
        [
            _correlate(one(weights), two(weights), weights)
            for weights in replicate_weights(clusters, among)
        ]
    )
    return RankCorrelation(float(rho[0]), *interval(rho)) if np.isfinite(rho[0]) else None


class _Ranks:
    """Ranks of M fixed values when each of them occurs several times, or not at all."""

    def __init__(self, values: Floats) -> None:
        self.order = np.argsort(values, kind="stable")
        is_first = np.diff(values[self.order], prepend=-np.inf) > 0
        self.starts = np.flatnonzero(is_first)
        self.group = np.empty(len(values), np.intp)
        self.group[self.order] = np.cumsum(is_first) - 1

    def __call__(self, weights: Floats) -> Floats:
        """Return ranks (B, M) of the values, by how often each occurs (B, M)."""
        counts = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        middle = np.cumsum(counts, axis=1) - counts / 2
        return middle[:, self.group]


def _correlate(one: Floats, two: Floats, weights: Floats) -> Floats:
    """Return the weighted Pearson correlation of each row (B,); NaN if one side is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = weights / weights.sum(1, keepdims=True)
        one = one - (share * one).sum(1, keepdims=True)
        two = two - (share * two).sum(1, keepdims=True)
        variances = (share * one**2).sum(1) * (share * two**2).sum(1)
        return (share * one * two).sum(1) / np.sqrt(variances)
