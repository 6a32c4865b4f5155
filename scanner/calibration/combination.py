"""One score from many: log odds by logistic regression, cross-fitted.

Everything that is fitted or chosen (the standardisation, the strength of the regularisation, the
scale of the odds) sees only the captions of the training folds; near-copies stay in one fold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from scanner.calibration.separation import Bools, Floats
from scanner.errors import UserError

FOLDS = 5
CLUSTERS = 10
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class Linear:
    """A score: values (N, K) @ weights (K,) + intercept."""

    weights: Floats
    intercept: float

    def __call__(self, values: Floats) -> Floats:
        return values @ self.weights + self.intercept


def check_clusters(memorized: Bools, clusters: NDArray) -> None:
    """Raises UserError where too few independent captions of a kind are labelled."""
    for kind, name in ((True, "memorized"), (False, "not memorized")):
        count = len(np.unique(clusters[memorized == kind]))
        if count < CLUSTERS:
            raise UserError(
                f"the labels name {count} clusters of near-duplicate captions that are {name}; "
                f"at least {CLUSTERS} of either kind are needed: label more captions"
            )


def cross_fit(values: Floats, memorized: Bools, clusters: NDArray) -> Floats:
    """For each caption the log odds (N,) by a model that has seen nothing of its fold."""
    with threadpool_limits(1):  # the matrices are small: threads cost ten times what they give
        return _out_of_fold(values, memorized, clusters, _fit, _folds(memorized, clusters))


def fit(values: Floats, memorized: Bools, clusters: NDArray) -> Linear:
    """The model of all captions, for others than these."""
    with threadpool_limits(1):
        return _fit(values, memorized, clusters)


def platt(scores: Floats, memorized: Bools) -> tuple[float, float]:
    """Slope and offset that make scores log odds, among captions as they are labelled.

    Targets are smoothed as Platt (1999) does, so that a perfect separation stays finite.
    """
    positive, negative = memorized.sum(), (~memorized).sum()
    target = np.where(memorized, (positive + 1) / (positive + 2), 1 / (negative + 2))
    doubled = np.concatenate([scores, scores])[:, None]
    kinds = np.repeat([True, False], len(scores))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    model.fit(doubled, kinds, sample_weight=np.concatenate([target, 1 - target]))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _out_of_fold(
    values: Floats,
    memorized: Bools,
    clusters: NDArray,
    fitted: Callable[[Floats, Bools, NDArray], Linear],
    folds: list[Fold],
) -> Floats:
    scores = np.empty(len(values))
    for train, test in folds:
        scores[test] = fitted(values[train], memorized[train], clusters[train])(values[test])
    return scores


def _folds(memorized: Bools, clusters: NDArray) -> list[Fold]:
    """Whole clusters, those with a memorized caption spread evenly.

    sklearn's StratifiedGroupKFold is the same in its purpose, and a thousand times slower.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    kinds = np.bincount(cluster, weights=memorized) > 0
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    folds = []
    for _, chosen in splitter.split(kinds, kinds):
        left_out = np.isin(cluster, chosen)
        kept = memorized[~left_out]
        if kept.all() or not kept.any():
            raise UserError(
                "one cluster of near-duplicate captions holds all that are labelled alike; label "
                "captions of other clusters too"
            )
        folds.append((np.flatnonzero(~left_out), np.flatnonzero(left_out)))
    return folds


def _fit(values: Floats, memorized: Bools, clusters: NDArray) -> Linear:
    """The strength with the least loss on captions that a fold left out; with it a model of all,
    on the scale of log odds as the left-out ones have shown it."""
    folds = _folds(memorized, clusters)
    left_out = {
        strength: _out_of_fold(values, memorized, clusters, partial(_regression, strength), folds)
        for strength in STRENGTHS
    }
    best = min(STRENGTHS, key=lambda one: log_loss(memorized, expit(left_out[one])))
    slope, offset = platt(left_out[best], memorized)
    model = _regression(best, values, memorized, clusters)
    return Linear(slope * model.weights, slope * model.intercept + offset)


def _regression(strength: float, values: Floats, memorized: Bools, _: NDArray) -> Linear:
    """L2-regularised logistic regression on standardised values, in the values' own units."""
    scaler = StandardScaler().fit(values)
    model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-8)
    model.fit(scaler.transform(values), memorized)
    weights = model.coef_[0] / scaler.scale_
    return Linear(weights, float(model.intercept_[0] - weights @ scaler.mean_))
