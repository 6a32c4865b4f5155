"""A whole scan finds what is memorized early if one image is repeated under many captions."""

import csv
import json
from pathlib import Path

import pytest

from jobs.console.calibrations import named_calibration
from scanner.query import open_run
from scanner.query.yield_curve import measure_yield
from scanner.scan import score_plan as scoring
from scanner.scan.config import ScanConfig
from scanner.scan.plan.tiers import BY_SAMPLES_OR_IMAGES
from scanner.scan.scan import scan
from scanner.scan.score_plan import BudgetUsed
from scanner.testbed import labels
from tests.memscan import called

pytestmark = pytest.mark.slow
PLANTED, OTHERS = 12, 60
EARLY, LATE = BY_SAMPLES_OR_IMAGES[2], BY_SAMPLES_OR_IMAGES[-1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Memorized captions, each once, with one image; others with an image each."""
    rows = labels().to_pylist()
    planted = [row["caption"] for row in rows if row["memorized"]][:PLANTED]
    others = [row["caption"] for row in rows if row["group"] == "once"][:OTHERS]
    path = tmp_path_factory.mktemp("planted") / "data.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["caption", "sha256"])
        for number, caption in enumerate(others):
            writer.writerow([caption, f"own {number}"])
            if number % 5 == 0:
                writer.writerow([planted[number // 5], "planted"])
    return path


def _options(data: Path, out: Path) -> dict:
    options = {"captions": (str(data),), "out": str(out), "model": "testbed", "device": "cpu"}
    return {**options, "slice_captions": PLANTED, "actors": 1}


def test_a_scan_that_stops_early_has_found_the_planted_image(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(events: scoring._ScoringEvents) -> None:
        if events.state.committed >= 1:
            raise BudgetUsed("one slice is paid for")

    calibration = named_calibration("testbed")
    options = _options(data, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(scoring._ScoringEvents, "_check_budget", check)
        scan(ScanConfig(**options, budget_hours=1.0), lambda _: None)
    first, second = measure_yield(options["out"], calibration).tiers
    assert (first.name, first.planned, first.scanned) == (EARLY, PLANTED, PLANTED)
    assert first.found > PLANTED * 0.9
    assert (second.name, second.planned, second.scanned) == (LATE, OTHERS, 0)

    scan(ScanConfig(**options), lambda _: None)
    found = measure_yield(options["out"], calibration)
    (_, early), (_, whole) = found.curve()
    assert early > 0.9
    assert whole == 1
    printed = called("status", options["out"], "--yield", "--calibration", "testbed").stdout
    assert f"after {EARLY}: {PLANTED} of {PLANTED} scanned" in printed
    samples = open_run(options["out"]).query("SELECT max(n_samples) AS n FROM captions")
    assert samples["n"].to_pylist() == [1], "captions themselves are not repeated"


def test_a_dry_run_names_the_tiers(data: Path) -> None:
    words = ("scan", "--captions", str(data), "--model", "testbed", "--device", "cpu", "--dry-run")
    told = json.loads(called(*words, "--json").stdout)
    assert told["tiers"] == {EARLY: PLANTED, LATE: OTHERS}
