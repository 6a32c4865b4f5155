"""Hours of devices: counted over all commands on a run, shown with their cost, and limited."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.scan import exit_status
from jobs.status import main as status_command
from scanner.cluster import Started, Tick
from scanner.errors import UsageError, UserError
from scanner.query import measure_coverage, open_run
from scanner.query.yield_curve import measure_yield
from scanner.run import Run
from scanner.run.progress import Progress, read_progress
from scanner.run.status import status
from scanner.scan import score_plan as scoring
from scanner.scan.config import ScanConfig
from scanner.scan.scan import scan
from scanner.scan.score_plan import BudgetUsed
from tests.run.planned import ROWS, commit_slice, planned_run, slices_of

HOUR = 3600.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scoring.time, "monotonic", clock)
    return clock


def _events(run: Run, gpus: float, budget: float | None = None) -> scoring._ScoringEvents:
    plan = run.plan()
    assert plan is not None
    events = scoring._ScoringEvents(run, plan, lambda _: None, gpus, budget)
    events(Started(plan.slices))
    return events


def test_hours_include_actors_that_load_a_model(tmp_path: Path, clock: Clock) -> None:
    run, _ = planned_run(tmp_path, slices_of(3))
    events = _events(run, gpus=0.5)
    for hour, actors in ((0, 4), (1, 8), (2, 0), (9, 0)):
        clock.now = hour * HOUR
        events(Tick({}, 0, placed=actors))
    assert events.state.device_hours == pytest.approx((4 + 8) / 2)
    events.finish()
    again = _events(run, gpus=0.5)
    assert again.state.device_hours == pytest.approx(6), "of earlier drivers too"
    clock.now += HOUR
    again(Tick({}, 0, placed=1))
    assert again.state.device_hours == pytest.approx(6), "before the first Tick nothing is known"


def test_a_budget_that_is_used_up_stops_the_scan(tmp_path: Path, clock: Clock) -> None:
    run, _ = planned_run(tmp_path, slices_of(3))
    events = _events(run, 1.0, budget=2.0)
    events(Tick({}, 3, placed=3))
    clock.now = 0.6 * HOUR
    events(Tick({}, 3, placed=3))
    clock.now = 0.7 * HOUR
    with pytest.raises(UserError, match=r"--budget-hours 2: 2.1 GPU-hours are used, and 0 of"):
        events(Tick({}, 3, placed=3))
    events.state.stop(run)
    with pytest.raises(UserError, match="rerun with a larger --budget-hours"):
        _events(run, 1.0, budget=2.0)
    _events(run, 1.0, budget=2.2)


def test_status_shows_hours_and_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slices = slices_of(4)
    run, _ = planned_run(tmp_path, slices)
    assert status(run)["device_hours"] is None, "of a version that did not count them"
    commit_slice(run, slices[0])
    state = Progress(
        *(4, 4 * ROWS, 1, ROWS),
        actors=1,
        placed=2,
        started=1.0,
        device_seconds=1.5 * HOUR,
        device_share=0.5,
        device_kind="GPU",
    )
    state.save(run)
    assert status_command([str(tmp_path), "--price", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["device_hours"], shown["cost"]) == (1.5, 3.0)
    left = shown["eta_seconds"] / HOUR  # two halves of a GPU
    assert shown["device_hours_left"] == pytest.approx(left)
    assert shown["cost_left"] == pytest.approx(2 * left)
    assert status_command([str(tmp_path), "--price", "2"]) == 0
    text = capsys.readouterr().out
    assert "hours      1.50 GPU-hours so far, about " in text
    assert "cost       3.00 so far, about " in text
    state.stop(run)
    assert status(run)["device_hours_left"] is None


@pytest.mark.parametrize("hours", [0.0, -1.0, float("inf"), float("nan")])
def test_a_budget_has_to_be_a_number_of_hours(hours: float) -> None:
    with pytest.raises(UsageError, match=r"--budget-hours .*: must be a positive number"):
        ScanConfig(captions=("a.csv",), out="run", budget_hours=hours).check()


def _options(folder: Path, captions: int) -> dict[str, Any]:
    """A scan of so many captions, each of which is a slice."""
    lines = [f"a red cat {number}" for number in range(captions)]
    (folder / "a.csv").write_text("\n".join(["caption", *lines]) + "\n")
    return {
        "captions": (str(folder / "a.csv"),),
        "out": str(folder / "run"),
        "model": "testbed",
        "device": "cpu",
        "slice_captions": 1,
    }


@pytest.mark.slow
def test_a_stopped_scan_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    options = _options(tmp_path, 4)
    with contextlib.suppress(BudgetUsed):  # raised if not even one slice is scored by then
        scan(ScanConfig(**options, budget_hours=1e-7), lambda _: None)
    run = Run.existing(options["out"])
    assert not run.is_finished()
    used = read_progress(run)["device_seconds"]
    assert used > 0
    scan(ScanConfig(**options), lambda _: None)
    assert run.is_finished()
    assert status(run)["device_hours"] > used / HOUR


@pytest.mark.slow
def test_what_a_budget_paid_for_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(tmp_path, 5)
    with (tmp_path / "a.csv").open("a") as file:
        file.write("a red cat 3\n" * 9 + "a red cat 1\n")

    def check(events: scoring._ScoringEvents) -> None:
        if events.state.committed == 2:
            raise BudgetUsed("two slices are paid for")

    with monkeypatch.context() as patched:
        patched.setattr(scoring._ScoringEvents, "_check_budget", check)
        result = scan(ScanConfig(**options, budget_hours=1.0), lambda _: None)
    assert result.manifest["counts"]["not_scanned"] == 3
    assert result.manifest["quarantined"] == []
    assert result.complaints[0].startswith("3 of 5 captions are not scanned; rerun with a larger")
    assert exit_status(result, accept_rejects=True) == 3
    run, tables = Run.existing(options["out"]), open_run(options["out"])
    found = {row["caption"]: row["n_samples"] for row in tables.query("FROM ranked").to_pylist()}
    assert found == {"a red cat 3": 10, "a red cat 1": 2}, "those with most samples come first"
    assert measure_coverage(tables).unscored == ("3 not scanned (--budget-hours)",)
    state = status(run)
    assert (state["sealed"], state["usable"], state["slices"]["committed"]) == (False, 2, 2)
    assert status_command([options["out"]]) == 0
    found = measure_yield(options["out"])
    assert [(tier.planned, tier.scanned) for tier in found.tiers] == [(1, 1), (1, 1), (3, 0)]
    whole = scan(ScanConfig(**options), lambda _: None)
    assert (whole.complaints, run.is_finished()) == ((), True)
    assert len(open_run(options["out"]).query("FROM ranked")) == 5
