"""The moving null finds planted samples without a clean set, and its probabilities are sound."""

import numpy as np
import pytest
import torch

from scanner.errors import UsageError
from scanner.mitigation.moving_null import MovingNull, center_and_scale
from scanner.mitigation.two_groups import alternative_probability, count_bound

COPIES, REPEATED, ONCE, BATCH = 20, 10, 150, 32


def _steps(null: MovingNull, shift: float, steps: int = 60) -> dict[str, list[float]]:
    """Run a null over a set most of whose samples are repeated; return P by kind of caption in
    the second half. The signal depends on the noise level, and drifts as in training."""
    random = np.random.default_rng(0)
    captions = [f"repeated {n}" for n in range(REPEATED) for _ in range(COPIES)]
    captions += [f"once {n}" for n in range(ONCE)]
    found: dict[str, list[float]] = {"repeated": [], "once": []}
    rows: list[int] = []
    for step in range(steps):
        while len(rows) < BATCH:
            rows += random.permutation(len(captions)).tolist()
        names, rows = [captions[row] for row in rows[:BATCH]], rows[BATCH:]
        times = random.integers(0, 1000, BATCH)
        risk = random.normal(size=BATCH) + times / 500 + step / 50
        risk += shift * np.array([name.startswith("repeated") for name in names])
        probability = null.probabilities(torch.tensor(times), torch.tensor(risk), names)
        if step >= steps // 2:
            for name, value in zip(names, probability.tolist(), strict=True):
                found[name.split()[0]].append(value)
    return found


def test_planted_repeats_are_found_without_a_clean_set() -> None:
    found = _steps(MovingNull(bins=2, window=1024, warmup=16), shift=3.0)
    assert np.mean(found["repeated"]) > 0.9
    assert np.mean(found["once"]) < 0.05


def test_repeats_that_are_not_memorized_keep_their_weight() -> None:
    found = _steps(MovingNull(bins=2, window=1024, warmup=16), shift=0.0)
    assert np.mean(found["repeated"]) < 0.1
    assert np.mean(found["once"]) < 0.05


def test_nothing_is_probable_before_the_warm_up_ends() -> None:
    null = MovingNull(bins=1, warmup=40)
    names = [f"caption {n}" for n in range(39)]
    risk, times = torch.arange(39.0), torch.zeros(39)
    for _ in range(3):
        assert null.probabilities(times, risk, names).tolist() == [0.0] * 39


def test_weights_are_one_minus_p_or_hard_at_the_cutoff() -> None:
    probability = torch.tensor([0.0, 0.4, 0.5, 1.0])
    assert MovingNull().weights(probability).tolist() == pytest.approx([1, 0.6, 0.5, 0])
    assert MovingNull(cutoff=0.5).weights(probability).tolist() == [1, 1, 0, 0]
    for settings in ({"cutoff": 0.0}, {"window": 0}, {"warmup": 1}):
        with pytest.raises(UsageError, match="guard: "):
            MovingNull(**settings)  # type: ignore[arg-type]


def test_the_scale_of_the_null_is_that_of_its_lower_half() -> None:
    values = np.random.default_rng(0).normal(5, 2, 20_000)
    memorized = np.full(2_000, 50.0)
    center, scale = center_and_scale([*values, *memorized])
    assert center == pytest.approx(5, abs=0.35)
    assert scale == pytest.approx(2, rel=0.1)


def test_probabilities_follow_the_excess_of_small_p_values() -> None:
    """As many p-values near 0.001 as the uniform ones have below it, times twenty."""
    random = np.random.default_rng(0)
    uniform, few = random.uniform(size=20_000), random.uniform(0, 0.001, 380)
    found = alternative_probability(np.concatenate([uniform, few]))
    assert found[20_000:].mean() == pytest.approx(380 / 400, abs=0.03)
    assert found[:20_000][uniform > 0.01].max() < 0.1
    order = np.argsort(uniform)
    assert (np.diff(found[:20_000][order]) <= 1e-9).all(), "smaller p, larger probability"


def test_a_few_small_p_values_are_no_evidence() -> None:
    largest = [
        alternative_probability(np.random.default_rng(seed).uniform(size=300)).max()
        for seed in range(40)
    ]
    assert np.mean(np.array(largest) > 0.5) < 0.2
    one = np.append(np.linspace(0.01, 1, 300), 1e-9)
    assert alternative_probability(one)[-1] > 0.99, "but one extreme value is"


def test_count_bounds_are_those_of_a_poisson_mean() -> None:
    from scipy.stats import chi2

    count = np.array([1, 2, 5, 20, 200])
    assert count_bound(count) == pytest.approx(chi2.ppf(0.05, 2 * count) / 2, abs=0.02)
