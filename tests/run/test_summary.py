from dataclasses import replace
from pathlib import Path

from scanner.run.status import status
from scanner.run.summary import PlanSummary
from tests.run.planned import ROWS, commit_slice, plan_of, planned_run, slices_of


def test_captions_of_committed_slices_are_exact() -> None:
    first, second, third, *rest = slices_of(6, first=3)
    slices = (replace(first, rows=1), second, replace(third, rows=9), *rest)
    summary = PlanSummary.of(plan_of(slices), {})
    assert summary.committed(["000003", "000005", "000008"]) == (3, 1 + 9 + rest[0].rows)
    assert summary.committed(["000002", "000009", "x", "9" * 100]) == (0, 0)
    assert len(summary.rows) == 4
    assert summary.ids == ()


def test_slices_in_another_order_are_found_by_name() -> None:
    first, second = slices_of(2)
    summary = PlanSummary.of(plan_of((second, replace(first, rows=7))), {})
    assert summary.committed(["000000"]) == (1, 7)


def test_a_plan_without_slices_has_a_summary() -> None:
    assert PlanSummary.of(plan_of(()), {}).committed(["000000"]) == (0, 0)


def test_a_new_plan_replaces_the_summary_of_a_removed_one(tmp_path: Path) -> None:
    run, _ = planned_run(tmp_path, slices_of(2))
    run.store.remove("plan.json")
    slices = slices_of(3)
    run.summarize(run.adopt(plan_of(slices)), 0)
    commit_slice(run, slices[2])
    shown = status(run)
    assert shown["slices"]["planned"] == 3
    assert shown["scored"] == ROWS
