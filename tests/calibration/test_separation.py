import numpy as np
import pytest

from scanner.calibration import separation

Y = np.array([True, True, False, False, False, False])
ALONE = np.arange(6)


def test_perfect_reversed_and_constant_scores() -> None:
    perfect = separation(np.array([5.0, 6, 1, 2, 3, 4]), Y, ALONE)
    assert (perfect.auc, perfect.tpr_at_1pct_fpr) == (1.0, 1.0)
    assert separation(np.array([0.0, -1, 1, 2, 3, 4]), Y, ALONE).auc == 0.0
    constant = separation(np.ones(6), Y, ALONE)
    assert (constant.auc, constant.tpr_at_1pct_fpr) == (0.5, 0.0)


def test_auc_counts_pairs_and_ties_half() -> None:
    scores = np.array([3.0, 1.0, 1.0, 2.0, 0.0, 3.0])
    pairs = [(a, b) for a in scores[Y] for b in scores[~Y]]
    expected = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert separation(scores, Y, ALONE).auc == pytest.approx(expected)


def test_tpr_at_one_per_cent_false_alarms() -> None:
    random = np.random.default_rng(0)
    negative, positive = random.normal(size=1000), np.array([9.0, 8.0, -9.0, 7.0])
    scores = np.concatenate([positive, negative])
    labels = np.arange(1004) < 4
    assert separation(scores, labels, np.arange(1004)).tpr_at_1pct_fpr == 0.75


def test_interval_holds_the_true_value_and_widens_when_captions_are_copies() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([True, False], [60, 300])
    scores = np.concatenate([random.normal(1.0, 1, 60), random.normal(0, 1, 300)])
    alone = separation(scores, labels, np.arange(360))
    assert alone.auc_low < 0.76 < alone.auc_high  # Φ(1/√2)
    copies = np.repeat(np.arange(36), 10)
    copied = separation(np.repeat(scores[::10], 10), labels, copies)
    assert copied.auc_high - copied.auc_low > 1.5 * (alone.auc_high - alone.auc_low)


def test_one_kind_of_caption_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive and negative"):
        separation(np.ones(3), np.ones(3, bool), np.arange(3))
