import numpy as np
import pytest
from scipy.stats import false_discovery_control, norm

from scanner.calibration.nulls import Bulk, Conformal, benjamini_hochberg, count_levels
from scanner.errors import UserError


def test_conformal_p_counts_null_scores_at_least_as_high() -> None:
    null = Conformal(np.array([1.0, 2.0, 2.0, 5.0]))
    scores = np.array([0.0, 1.0, 2.0, 2.5, 5.0, 6.0])
    # (1 + #{null ≥ score}) / (1 + 4); equal ones count
    expected = np.array([5, 5, 4, 2, 2, 1]) / 5
    np.testing.assert_allclose(null.p[null.levels(scores)], expected)


def test_the_threshold_of_a_level_is_its_lowest_score() -> None:
    null = Conformal(np.array([1.0, 2.0, 5.0]))
    np.testing.assert_array_equal(null.levels(null.thresholds), [0, 1, 2, 3])
    np.testing.assert_array_equal(null.levels(np.array([5.0, 2.0, 1.0])), [1, 2, 3])


@pytest.mark.parametrize("seed", range(20))
def test_the_selection_matches_scipys_benjamini_hochberg(seed: int) -> None:
    random = np.random.default_rng(seed)
    null = Conformal(random.normal(size=200).round(1))
    scores = np.concatenate([random.normal(size=100), random.normal(3, 1, 60)]).round(1)
    p = null.p[null.levels(scores)]
    for fdr in (0.02, 0.1, 0.3):
        chosen = false_discovery_control(p, method="bh") <= fdr * (1 + 1e-12)
        found = benjamini_hochberg(null, count_levels(null, scores), fdr)
        assert found.length == chosen.sum()
        if found.threshold is not None:
            np.testing.assert_array_equal(scores >= found.threshold, chosen)
            assert found.expected_false == pytest.approx(160 * p[chosen].max())


def test_no_selection_is_shorter_than_the_null_supports() -> None:
    """99 null captions, 1,000 candidates, 10 %: p is at least 1/100, so 100 must exceed all."""
    null = Conformal(np.zeros(99))
    above = np.repeat([1.0, -1.0], [99, 901])
    found = benjamini_hochberg(null, count_levels(null, above), 0.1)
    assert (found.smallest, found.length, found.threshold) == (100, 0, None)
    above = np.repeat([1.0, -1.0], [100, 900])
    found = benjamini_hochberg(null, count_levels(null, above), 0.1)
    assert (found.length, found.expected_false) == (100, pytest.approx(10))


def test_the_bulk_null_is_normal_fitted_to_the_middle_half() -> None:
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(10, 2, 20000), np.full(100, 30.0)])
    null = Bulk(scores)
    assert null.center == pytest.approx(10, abs=0.1)
    assert null.spread == pytest.approx(2, rel=0.03)
    p = null.p[null.levels(np.array([10.0, 14.0, 16.0]))]
    expected = norm.sf((np.array([10, 14, 16]) - null.center) / null.spread)
    assert np.all(p >= expected)  # a level has the p of its lowest score
    np.testing.assert_allclose(p, expected, rtol=0.02)
    found = benjamini_hochberg(null, count_levels(null, scores), 0.05)
    assert 100 <= found.length <= 110


def test_an_empty_or_constant_null_is_refused_with_a_remedy() -> None:
    with pytest.raises(UserError, match="--reference"):
        Conformal(np.array([]))
    with pytest.raises(UserError, match="have the same score"):
        Bulk(np.ones(10))
