"""Combine signals into one score: log odds from a cross-fitted logistic regression.

Everything that is fitted or chosen (standardization, regularization strength, scale of the odds)
uses only the captions of the training folds; near-duplicates stay in one fold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from scanner.calibration.statistics.bootstrap import Bools, Floats
from scanner.errors import UserError

FOLDS = 5
INVERSE_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class LinearModel:
    """Scores as values (N, K) @ weights (K,) + intercept."""

    weights: Floats
    intercept: float

    def __call__(self, values: Floats) -> Floats:
        return values @ self.weights + self.intercept


def cross_fit(
    values: Floats, memorized: Bools, clusters: NDArray, weights: Floats | None = None
) -> Floats:
    """Return log odds (N,), each from a model fitted without the caption's fold.

    ``weights``: how many captions each of them represents, by default one.
    """
    labels = _Labels(memorized, clusters, weights)
    with threadpool_limits(1):  # the matrices are small: threads cost ten times what they save
        scores = np.empty(len(values))
        for train, test in _folds(memorized, clusters):
            scores[test] = _fit(values[train], labels.take(train))(values[test])
        return scores


def fit(
    values: Floats, memorized: Bools, clusters: NDArray, weights: Floats | None = None
) -> LinearModel:
    """Fit a model on all captions, to score captions without labels."""
    with threadpool_limits(1):
        return _fit(values, _Labels(memorized, clusters, weights))


def platt(scores: Floats, memorized: Bools, weights: Floats | None = None) -> tuple[float, float]:
    """Return the slope and offset that turn scores into log odds at the labels' prevalence.

    Targets are smoothed as in Platt (1999), to keep the slope finite for perfect separation.
    """
    positive, negative = memorized.sum(), (~memorized).sum()
    target = np.where(memorized, (positive + 1) / (positive + 2), 1 / (negative + 2))
    doubled = np.concatenate([scores, scores])[:, None]
    classes = np.repeat([True, False], len(scores))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    each = np.ones(len(scores)) if weights is None else weights
    model.fit(doubled, classes, sample_weight=np.concatenate([each * target, each * (1 - target)]))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


@dataclass(frozen=True)
class _Labels:
    memorized: Bools
    clusters: NDArray
    weights: Floats | None

    def take(self, rows: NDArray[np.intp]) -> "_Labels":
        weights = None if self.weights is None else self.weights[rows]
        return _Labels(self.memorized[rows], self.clusters[rows], weights)


def _folds(memorized: Bools, clusters: NDArray) -> list[Fold]:
    """Split whole clusters into folds, spreading those with a memorized caption evenly.

    sklearn's StratifiedGroupKFold has the same purpose but is a thousand times slower.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    has_memorized = np.bincount(cluster, weights=memorized) > 0
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    folds = []
    for _, test_clusters in splitter.split(has_memorized, has_memorized):
        held_out = np.isin(cluster, test_clusters)
        training = memorized[~held_out]
        if training.all() or not training.any():
            raise UserError(
                "all captions with one of the two labels are in one cluster of near-duplicates; "
                "label captions of other clusters too"
            )
        folds.append((np.flatnonzero(~held_out), np.flatnonzero(held_out)))
    return folds


def _fit(values: Floats, labels: _Labels) -> LinearModel:
    """Choose the inverse regularization strength (sklearn's C) with the lowest held-out loss, fit
    all captions with it, and rescale to log odds on the held-out scores."""
    memorized, weights = labels.memorized, labels.weights
    folds = _folds(memorized, labels.clusters)
    held_out = {each: np.empty(len(values)) for each in INVERSE_STRENGTHS}
    for train, test in folds:
        standardized = _Standardized(values[train], labels.take(train))
        for inverse_strength, scores in held_out.items():
            scores[test] = standardized.regression(inverse_strength)(values[test])
    best = min(
        INVERSE_STRENGTHS,
        key=lambda c: log_loss(memorized, expit(held_out[c]), sample_weight=weights),
    )
    slope, offset = platt(held_out[best], memorized, weights)
    model = _Standardized(values, labels).regression(best)
    return LinearModel(slope * model.weights, slope * model.intercept + offset)


class _Standardized:
    """Values with mean 0 and variance 1, to fit regressions on."""

    def __init__(self, values: Floats, labels: _Labels) -> None:
        self._labels = labels
        self._scaler = StandardScaler().fit(values, sample_weight=labels.weights)
        self._values = self._scaler.transform(values)

    def regression(self, inverse_strength: float) -> LinearModel:
        """Fit an L2-regularized logistic regression; return the weights in the original units."""
        model = LogisticRegression(C=inverse_strength, solver="newton-cholesky", tol=1e-8)
        model.fit(self._values, self._labels.memorized, sample_weight=self._labels.weights)
        weights = model.coef_[0] / self._scaler.scale_
        return LinearModel(weights, float(model.intercept_[0] - weights @ self._scaler.mean_))
