import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scanner.calibration.evaluation.separation import auc_gain, separation, threshold_at_fpr

Y = np.array([True, True, False, False, False, False])
SINGLETONS = np.arange(6)


def test_auc_of_perfect_reversed_and_constant_scores() -> None:
    perfect = separation(np.array([5.0, 6, 1, 2, 3, 4]), Y, SINGLETONS)
    assert (perfect.auc, perfect.at_fpr[0.01].tpr) == (1.0, 1.0)
    assert perfect.at_fpr[0.01].threshold == 5.0
    assert separation(np.array([0.0, -1, 1, 2, 3, 4]), Y, SINGLETONS).auc == 0.0
    constant = separation(np.ones(6), Y, SINGLETONS)
    assert (constant.auc, constant.at_fpr[0.01].tpr) == (0.5, 0.0)
    assert constant.at_fpr[0.01].threshold is None


def test_lower_scores_can_mean_positive() -> None:
    scores = np.array([-5.0, -6, -1, -2, -3, -4])
    reversed_scores = separation(scores, Y, SINGLETONS, direction=-1)
    assert (reversed_scores.auc, reversed_scores.at_fpr[0.01].tpr) == (1.0, 1.0)
    assert reversed_scores.at_fpr[0.01].threshold == -5.0


def test_auc_with_ties_matches_scikit_learn() -> None:
    scores = np.array([3.0, 1.0, 1.0, 2.0, 0.0, 3.0])
    pairs = [(a, b) for a in scores[Y] for b in scores[~Y]]
    expected = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert separation(scores, Y, SINGLETONS).auc == pytest.approx(expected)
    random = np.random.default_rng(3)
    many, labels = random.integers(0, 9, 500).astype(float), random.random(500) < 0.3
    found = separation(many, labels, np.arange(500)).auc
    assert found == pytest.approx(roc_auc_score(labels, many))


def test_tpr_at_one_percent_fpr() -> None:
    random = np.random.default_rng(0)
    negative, positive = random.normal(size=1000), np.array([9.0, 8.0, -9.0, 7.0])
    scores = np.concatenate([positive, negative])
    labels = np.arange(1004) < 4
    assert separation(scores, labels, np.arange(1004)).at_fpr[0.01].tpr == 0.75


def test_a_threshold_keeps_the_false_positive_rate() -> None:
    scores = np.array([50.0, *range(100)])  # negatives 0 … 99, a positive at 50
    positive = np.arange(101) == 0
    assert threshold_at_fpr(scores, positive, 0.03) == 97.0
    assert threshold_at_fpr(scores, positive, 0.5) == 50.0
    tied = np.array([50.0, *range(98), 98, 98])  # the two highest are equal
    assert threshold_at_fpr(tied, positive, 0.01) is None
    assert threshold_at_fpr(tied, positive, 0.02) == 98.0


def test_tpr_at_one_per_mille_needs_1000_negative_clusters() -> None:
    scores = np.arange(1010.0)
    positive = scores >= 1000
    assert separation(scores, positive, np.arange(1010)).at_fpr[0.001].tpr == 1.0
    copies = np.minimum(np.arange(1010), 998)
    assert list(separation(scores, positive, copies).at_fpr) == [0.01, 0.03]


def test_near_duplicates_widen_the_interval() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([True, False], [60, 300])
    scores = np.concatenate([random.normal(1.0, 1, 60), random.normal(0, 1, 300)])
    alone = separation(scores, labels, np.arange(360))
    assert alone.auc_low < 0.76 < alone.auc_high  # Φ(1/√2)
    copies = np.repeat(np.arange(36), 10)
    copied = separation(np.repeat(scores[::10], 10), labels, copies)
    assert copied.auc_high - copied.auc_low > 1.5 * (alone.auc_high - alone.auc_low)


def test_a_gain_is_measured_on_the_same_draws() -> None:
    """A score that is slightly better on every draw is significantly better."""
    random = np.random.default_rng(2)
    labels = np.arange(400) < 100
    one = random.normal(size=400) + labels
    better = one + 0.2 * labels
    found = auc_gain(better, one, labels, np.arange(400))
    assert found.auc == pytest.approx(roc_auc_score(labels, better) - roc_auc_score(labels, one))
    assert 0 < found.low < found.auc < found.high < 0.1
    assert auc_gain(one, one, labels, np.arange(400)).high == 0.0


def test_captions_of_only_one_class_are_an_error() -> None:
    with pytest.raises(ValueError, match="positive and negative"):
        separation(np.ones(3), np.ones(3, bool), np.arange(3))
