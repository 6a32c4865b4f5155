from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from scanner.calibration.discovery import check, discover, list_threshold
from scanner.query import open_run
from tests.calibration.runs import synthetic_run

REFERENCE = np.arange(1000) >= 600
KNOWN = np.arange(1000) < 200
RATES = (0.1, 0.3)


def test_the_promised_rate_is_found_where_the_null_is_exchangeable() -> None:
    """Benjamini and Hochberg's rate is q · m₀ / m: half of these candidates, or three quarters,
    are not memorized. Mean of ten drawn data sets."""
    found = []
    for seed in range(10):
        scores = np.random.default_rng(seed).normal(size=1000) + 3 * KNOWN
        promises = check(scores, KNOWN, REFERENCE, RATES)
        found.append([(one.exchangeable.found, one.all.found) for one in promises])
    expected = np.outer(RATES, [0.5, 0.75])
    np.testing.assert_allclose(np.mean(found, axis=0), expected, atol=0.02)


def test_a_null_that_is_not_exchangeable_is_found_out() -> None:
    """Training lifts the scores of captions that it does not memorize: the list is wronger than
    promised; where it lowers them, the list is shorter and purer."""
    base = np.random.default_rng(0).normal(size=1000) + 3 * KNOWN
    trained = ~REFERENCE & ~KNOWN
    (lifted,) = check(base + trained, KNOWN, REFERENCE, [0.1])
    assert lifted.all.found > 0.2
    assert lifted.exchangeable.found == pytest.approx(0.05, abs=0.03)
    (lowered,) = check(base - trained, KNOWN, REFERENCE, [0.1])
    assert lowered.all.found < 0.05


def test_without_two_clean_reference_captions_nothing_is_checked() -> None:
    scores = np.zeros(1000)
    assert check(scores, KNOWN, np.zeros(1000, bool), RATES) == []
    assert check(scores, KNOWN, KNOWN, RATES) == []


def test_a_runs_list_is_compared_with_its_reference_captions(tmp_path: Path) -> None:
    tables = open_run(synthetic_run(tmp_path / "run"))
    found = discover(tables, None, 0.2)
    assert (found.signal, found.kind, found.null_captions) == ("noise_norm_first", "reference", 100)
    assert found.listed.candidates == 200
    assert found.listed.smallest == 10  # 200 / (0.2 · 101)
    start = list_threshold(found, tables.schema)
    assert start is not None
    assert start.higher
    assert start.false_positive_rate == found.listed.p
    flagged = tables.query(
        "SELECT count(*) AS n FROM ranked WHERE noise_norm_first >= $t", {"t": start.threshold}
    )
    assert flagged["n"].to_pylist() == [found.listed.length]
    assert found.listed.length > 10


def test_a_list_by_a_signal_that_is_lower_for_memorized_captions(tmp_path: Path) -> None:
    tables = open_run(synthetic_run(tmp_path / "run"))
    found = discover(tables, "bos_mass", 0.5)
    start = list_threshold(found, tables.schema)
    assert start is not None
    assert not start.higher
    values = tables.query("SELECT bos_mass FROM ranked")["bos_mass"]
    assert pc.sum(pc.less_equal(values, start.threshold)).as_py() == found.listed.length


def test_the_bulk_stands_in_where_there_are_no_reference_captions(tmp_path: Path) -> None:
    tables = open_run(synthetic_run(tmp_path / "run"))
    found = discover(tables, None, 0.2, "bulk")
    assert (found.kind, found.null_captions) == ("bulk", 200)
