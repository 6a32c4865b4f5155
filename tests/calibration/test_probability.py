import numpy as np
import pytest

from scanner.calibration.probability import prior_shift, reliability


def test_the_prior_shifts_log_odds_from_the_labels_share() -> None:
    known = np.array([True, False, False, False])  # odds 1 : 3
    assert prior_shift(known, 0.25) == pytest.approx(0)
    assert prior_shift(known, 0.01) == pytest.approx(np.log((1 / 99) / (1 / 3)))


def test_reliability_weights_captions_to_the_prior() -> None:
    """Half of the labels are memorized; under a prior of 0.1 a memorized caption has weight 0.2,
    another 1.8."""
    probability = np.array([0.8, 0.8, 0.2, 0.8, 0.2, 0.2])
    known = np.array([True, True, True, False, False, False])
    low, high = reliability(probability, known, 0.5)
    assert (low.low, low.high, low.captions) == (0.1, 0.25, 3)
    assert (low.predicted, low.observed) == (pytest.approx(0.2), pytest.approx(1 / 3))
    assert (high.captions, high.observed) == (3, pytest.approx(2 / 3))
    low, high = reliability(probability, known, 0.1)
    assert low.observed == pytest.approx(0.2 / (0.2 + 2 * 1.8))
    assert high.observed == pytest.approx(0.4 / (0.4 + 1.8))


def test_probabilities_of_0_and_1_have_a_bin() -> None:
    bins = reliability(np.array([0.0, 1.0]), np.array([False, True]), 0.5)
    assert [one.captions for one in bins] == [1, 1]
