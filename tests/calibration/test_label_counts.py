"""How precise figures become with more labels, against samples that were really drawn."""

import numpy as np
import pytest

from scanner.calibration.evaluation.label_counts import FACTORS, label_counts
from scanner.calibration.evaluation.separation import separation
from scanner.calibration.statistics.wilson import wilson

MEMORIZED, OTHERS = 40, 160


def _sample(seed: int, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores of which the memorized captions have higher ones."""
    random = np.random.default_rng(seed)
    positive = np.arange(factor * (MEMORIZED + OTHERS)) < factor * MEMORIZED
    return random.normal(size=len(positive)) + 2.5 * positive, positive


@pytest.mark.slow
def test_widths_are_those_of_samples_of_that_size() -> None:
    scores, positive = _sample(0, 1)
    counts = {one.factor: one for one in label_counts(scores, positive, np.arange(len(scores)))}
    assert (counts[1].memorized, counts[1].others) == (MEMORIZED, OTHERS)
    assert (counts[4].memorized, counts[4].others) == (4 * MEMORIZED, 4 * OTHERS)
    for factor in (1, 4):
        drawn = []
        for seed in range(1, 60):
            others, known = _sample(seed, factor)
            drawn.append(separation(others, known, np.arange(len(others))).auc)
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert counts[factor].auc == pytest.approx((high - low) / 2, rel=0.5)
    assert [one.auc for one in counts.values()] == sorted(
        (one.auc for one in counts.values()), reverse=True
    )


def test_at_the_same_size_the_interval_is_the_evaluation_s() -> None:
    scores, positive = _sample(3, 2)
    clusters = np.arange(len(scores)) // 2
    one = label_counts(scores, positive, clusters)[FACTORS.index(1)]
    measured = separation(scores, positive, clusters)
    point = measured.at_fpr[0.01]
    assert one.auc == pytest.approx((measured.auc_high - measured.auc_low) / 2, rel=0.25)
    assert one.tpr == pytest.approx((point.tpr_high - point.tpr_low) / 2, rel=0.25)


def test_figures_without_spread_are_not_exact() -> None:
    """If ten of ten are found, the rate is not known to be 1."""
    positive = np.arange(30) < 10
    one = label_counts(positive.astype(float), positive, np.arange(30))[FACTORS.index(1)]
    low, high = wilson(1.0, 10)
    assert one.tpr == pytest.approx((high - low) / 2)
    assert one.fpr_high > 0.1
    assert not one.is_enough


def test_weights_are_numbers_of_captions() -> None:
    scores, positive = _sample(5, 1)
    clusters = np.arange(len(scores))
    plain = label_counts(scores, positive, clusters)
    weighted = label_counts(scores, positive, clusters, np.full(len(scores), 3.0))
    assert [one.auc for one in weighted] == pytest.approx([one.auc for one in plain])


@pytest.mark.parametrize(("share", "n"), [(0.0, 12.0), (0.5, 40.0), (1.0, 7.0)])
def test_wilson_s_interval_inverts_the_normal_test(share: float, n: float) -> None:
    low, high = wilson(share, n)
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / n))


def test_clusters_of_both_kinds_count_in_each() -> None:
    scores, positive = _sample(5, 1)
    clusters = np.concatenate([np.arange(MEMORIZED), np.arange(OTHERS) % MEMORIZED])
    one = label_counts(scores, positive, clusters)[FACTORS.index(1)]
    assert (one.memorized, one.others) == (MEMORIZED, MEMORIZED)
    assert (one.fpr_low, one.fpr_high) == wilson(0.01, MEMORIZED)
