import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scanner.calibration.combination import (
    _Labels,
    _Standardized,
    cross_fit,
    fit,
    platt,
)
from scanner.calibration.evaluation.cluster_counts import check_clusters
from scanner.errors import UserError

RANDOM = np.random.default_rng(0)
KNOWN = np.arange(300) < 60
VALUES = RANDOM.normal([5, -3, 0.1, 100], [1, 0.1, 0.01, 30], (300, 4))
VALUES[:, 0] += 1.5 * KNOWN
VALUES[:, 2] -= 0.01 * KNOWN
SINGLETONS = np.arange(300)


def test_weights_in_original_units_match_scikit_learn() -> None:
    pipe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-10)).fit(VALUES, KNOWN)
    expected = pipe.decision_function(VALUES)
    labels = _Labels(KNOWN, SINGLETONS, None)
    found = _Standardized(VALUES, labels).regression(0.1)(VALUES)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_the_combination_separates_better_than_the_best_column() -> None:
    scores = cross_fit(VALUES, KNOWN, SINGLETONS)
    best = roc_auc_score(KNOWN, VALUES[:, 0])
    assert roc_auc_score(KNOWN, scores) > best + 0.02
    assert roc_auc_score(KNOWN, fit(VALUES, KNOWN, SINGLETONS)(VALUES)) > best + 0.02


@pytest.mark.slow
def test_random_labels_give_chance_when_cross_fitted() -> None:
    """Thirty columns of noise fit 60 of 300 labels well, but predict no held-out caption."""
    noise = np.random.default_rng(1).normal(size=(300, 30))
    known = np.random.default_rng(2).permutation(KNOWN)
    assert roc_auc_score(known, fit(noise, known, SINGLETONS)(noise)) > 0.6
    assert abs(roc_auc_score(known, cross_fit(noise, known, SINGLETONS)) - 0.5) < 0.12


@pytest.mark.slow
def test_near_duplicates_do_not_leak_between_folds() -> None:
    """Thirty clusters of ten captions with equal values: a caption's neighbors reveal its label,
    other clusters do not."""
    clusters = np.repeat(np.arange(30), 10)
    known = clusters % 2 == 0
    codes = np.random.default_rng(3).normal(size=(30, 30))[clusters]
    assert roc_auc_score(known, fit(codes, known, SINGLETONS)(codes)) > 0.95
    split = roc_auc_score(known, cross_fit(codes, known, SINGLETONS))
    kept = roc_auc_score(known, cross_fit(codes, known, clusters))
    assert split > 0.95
    assert kept < 0.75


@pytest.mark.slow
def test_a_caption_does_not_influence_the_scores_of_its_fold() -> None:
    """Nor does its standardization: an outlier changes the scores in other folds, and none in its
    own."""
    before = cross_fit(VALUES, KNOWN, SINGLETONS)
    changed = VALUES.copy()
    changed[299, 3] *= 1e6
    moved = cross_fit(changed, KNOWN, SINGLETONS) != before
    assert 200 < moved.sum() < 260
    again = VALUES.copy()
    again[299, 3] *= 2e6
    kept = ~moved
    np.testing.assert_array_equal(cross_fit(again, KNOWN, SINGLETONS)[kept], before[kept])


@pytest.mark.slow
def test_scores_are_log_odds() -> None:
    """Captions with labels drawn from known odds get these odds as scores."""
    random = np.random.default_rng(4)
    values = random.normal(size=(4000, 2))
    odds = 2 * values[:, 0] - values[:, 1] - 1
    known = random.random(4000) < expit(odds)
    scores = cross_fit(values, known, np.arange(4000))
    assert np.abs(scores - odds).mean() < 0.15
    slope, offset = platt(scores, known)
    assert slope == pytest.approx(1, abs=0.05)
    assert offset == pytest.approx(0, abs=0.05)


def test_a_perfect_separation_keeps_finite_odds() -> None:
    known = np.arange(40) < 20
    slope, offset = platt(np.where(known, 1.0, -1.0), known)
    # Platt's targets: 21/22 and 1/22.
    assert slope + offset == pytest.approx(np.log(21), abs=1e-3)
    assert offset - slope == pytest.approx(-np.log(21), abs=1e-3)


def test_too_few_clusters_are_refused_despite_many_captions() -> None:
    check_clusters(KNOWN, SINGLETONS)
    with pytest.raises(UserError, match="1 clusters of near-duplicate captions that are memorized"):
        check_clusters(KNOWN, np.where(KNOWN, 0, SINGLETONS))
