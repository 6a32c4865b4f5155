from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from scanner.calibration.discovery import check_fdr, discover, selection_threshold
from scanner.query import open_run
from tests.calibration.runs import synthetic_run

REFERENCE = np.arange(1000) >= 600
KNOWN = np.arange(1000) < 200
TARGETS = (0.1, 0.3)


@pytest.mark.slow
def test_the_target_fdr_is_attained_with_an_exchangeable_null() -> None:
    """Benjamini–Hochberg attains q · m₀ / m: of these candidates half, or three quarters, are not
    memorized. Mean over ten simulated data sets."""
    realized = []
    for seed in range(10):
        scores = np.random.default_rng(seed).normal(size=1000) + 3 * KNOWN
        checks = check_fdr(scores, KNOWN, REFERENCE, TARGETS)
        realized.append([(check.exchangeable.fdr, check.all.fdr) for check in checks])
    expected = np.outer(TARGETS, [0.5, 0.75])
    np.testing.assert_allclose(np.mean(realized, axis=0), expected, atol=0.02)


def test_a_null_that_is_not_exchangeable_is_detected() -> None:
    """If training raises the scores of captions that it does not memorize, the realized FDR exceeds
    the target; if it lowers them, the selection is shorter and its FDR lower."""
    base = np.random.default_rng(0).normal(size=1000) + 3 * KNOWN
    trained = ~REFERENCE & ~KNOWN
    (raised,) = check_fdr(base + trained, KNOWN, REFERENCE, [0.1])
    assert raised.all.fdr > 0.2
    assert raised.exchangeable.fdr == pytest.approx(0.05, abs=0.03)
    (lowered,) = check_fdr(base - trained, KNOWN, REFERENCE, [0.1])
    assert lowered.all.fdr < 0.05


def test_fewer_than_two_unmemorized_references_give_no_check() -> None:
    scores = np.zeros(1000)
    assert check_fdr(scores, KNOWN, np.zeros(1000, bool), TARGETS) == []
    assert check_fdr(scores, KNOWN, KNOWN, TARGETS) == []


def test_a_run_is_compared_with_its_reference_captions(tmp_path: Path) -> None:
    tables = open_run(synthetic_run(tmp_path / "run"))
    discovery = discover(tables, None, 0.2)
    assert discovery.signal == "noise_norm_first"
    assert (discovery.kind, discovery.null_captions) == ("reference", 100)
    assert discovery.selection.candidates == 200
    assert discovery.selection.smallest == 10  # 200 / (0.2 · 101)
    threshold = selection_threshold(discovery, tables.schema)
    assert threshold is not None
    assert threshold.higher
    assert threshold.false_positive_rate == discovery.selection.p
    flagged = tables.query(
        "SELECT count(*) AS n FROM ranked WHERE noise_norm_first >= $t", {"t": threshold.threshold}
    )
    assert flagged["n"].to_pylist() == [discovery.selection.length]
    assert discovery.selection.length > 10


def test_selection_by_a_signal_that_is_lower_for_memorized(tmp_path: Path) -> None:
    tables = open_run(synthetic_run(tmp_path / "run"))
    discovery = discover(tables, "bos_mass", 0.5)
    threshold = selection_threshold(discovery, tables.schema)
    assert threshold is not None
    assert not threshold.higher
    values = tables.query("SELECT bos_mass FROM ranked")["bos_mass"]
    selected = pc.sum(pc.less_equal(values, threshold.threshold)).as_py()
    assert selected == discovery.selection.length


def test_the_bulk_null_needs_no_reference_captions(tmp_path: Path) -> None:
    tables = open_run(synthetic_run(tmp_path / "run"))
    discovery = discover(tables, None, 0.2, "bulk")
    assert (discovery.kind, discovery.null_captions) == ("bulk", 200)
