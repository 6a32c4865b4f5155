"""The comparison of methods on a small table, and what it writes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.studies.mitigation import analysis
from jobs.studies.mitigation_methods import comparison
from jobs.studies.mitigation_methods.conditions import CONDITIONS, conditions_of, methods_of
from scanner.errors import UsageError
from scanner.mitigation.methods import METHODS, make_method

PIXELS = 12
MOVED = {"none": 0.0, "weak": 0.1, "strong": 0.2, "crude": 0.4}


def _table() -> pa.Table:
    """weak stops no copy; strong and crude stop all, and crude changes images more."""
    random = np.random.default_rng(0)
    rows = [
        {
            "condition": condition,
            "seconds": 2.0 if condition == "strong" else 1.0,
            "seed": 0,
            "caption": f"caption {half} {number}",
            "family": f"family {half} {number // 2}",
            "memorized": number < 4,
            "half": half,
            "noise_norm": 2.0 + number / 10 if number < 4 else number / 10,
            "rmse": 0.02 + moved,
            "copied": number < 4 and condition in ("none", "weak"),
            "alignment": 0.5 - moved,
            "features": random.normal(size=3).tolist(),
            "image": np.full(PIXELS, round(100 + 255 * moved), np.uint8).tobytes(),
        }
        for half in (0, 1)
        for number in range(8)
        for condition, moved in MOVED.items()
    ]
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="module")
def result() -> comparison.MethodComparison:
    features = np.random.default_rng(1).normal(size=(50, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "heldout_features", lambda: features)
        return comparison.compare(_table())


def test_the_front_holds_settings_that_no_other_beats(result: comparison.MethodComparison) -> None:
    summary = result.summary
    assert summary["chosen"] in ("strong, selective", "crude, selective")
    # Selectively, neither changes other captions; applied to all, each change is beaten by that.
    assert set(summary["front"]) == {"strong, selective", "crude, selective"}
    rows = {row["setting"]: row for row in result.settings}
    assert rows["strong"]["time_ratio"] == rows["strong, selective"]["time_ratio"] == 2.0
    assert rows["crude"]["others_moved"] == pytest.approx(0.4, abs=0.005)


@pytest.mark.slow
def test_the_comparison_is_written_with_its_command(
    result: comparison.MethodComparison, tmp_path: Path
) -> None:
    comparison.write(tmp_path, result, {"testbed": "testbed", "memorized": 4})
    page = (tmp_path / "findings.md").read_text()
    assert "--testbed testbed --memorized 4`" in page
    assert "| strong, selective | 0.000 (0.000–0.000) |" in page
    assert (tmp_path / "methods.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "methods.csv").read_text().count("\n") == 1 + 7


def test_every_method_is_compared_with_settings_that_it_has() -> None:
    assert methods_of("testbed") == ("ren", *METHODS)
    assert "padding" not in methods_of("testbed-dit")
    for condition in CONDITIONS:
        if condition.method != "ren":
            make_method(condition.method, dict(condition.settings))
    with pytest.raises(UsageError, match="must be of basin, embedding"):
        conditions_of("testbed", ("sharp",))
