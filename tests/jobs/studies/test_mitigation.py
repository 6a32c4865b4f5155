"""The study's analysis on small tables, its resumable tasks, and what it writes."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from jobs.studies.mitigation import analysis, findings, frechet
from jobs.studies.mitigation.conditions import (
    Condition,
    TokenPositions,
    choose_positions,
    make_edit,
)
from jobs.studies.mitigation.tasks import Task, read_tasks, run_tasks
from scanner.mitigation.prompt_hook import PromptRows

PIXELS = 12
WEAK, STRONG = "mitigation 1.25", "mitigation 3 masked"


def test_a_sham_changes_only_another_token_by_the_same_norm() -> None:
    key_NLD = torch.randn(2, 9, 6, generator=torch.manual_seed(0))
    rows = PromptRows(count=2, length=9, images=1, n_N=torch.tensor([5, 7]), negative=False)
    positions = TokenPositions([[1], [2]], [[3], [4]], [3, 5])
    size = {}
    for target, touched in (("beginning", [0, 0]), ("beginning sham", [3, 5])):
        edit = make_edit(Condition(target, 2.5), positions)(rows)
        assert edit.key is not None
        change_NL = (edit.key(key_NLD) - key_NLD).norm(dim=2)
        assert [change.nonzero().flatten().tolist() for change in change_NL] == [
            [position] for position in touched
        ]
        size[target] = change_NL.sum(1)
    assert torch.allclose(size["beginning"], size["beginning sham"])
    for target, chosen in (("triggers", positions.top), ("triggers sham", positions.others)):
        bias = make_edit(Condition(target, -2.0), positions)(rows).bias_NL
        assert [row.nonzero().flatten().tolist() for row in bias] == chosen
        assert set(bias[bias != 0].tolist()) == {-2.0}
    hidden = make_edit(Condition("padding", float("-inf")), positions)(rows).bias_NL
    assert hidden.isneginf().sum(1).tolist() == [4, 2]


def test_top_tokens_carry_most_attention_and_others_are_disjoint() -> None:
    mass = [0.5, 0.01, 0.2, 0.02, 0.01, 0.1, 0.02, 0.01, 0.02, 0.11]
    positions = choose_positions([mass, mass], seed=3)
    assert positions.top == [[2, 5], [2, 5]]
    for others, one in zip(positions.others, positions.random_token, strict=True):
        assert len(set(others)) == 2
        assert set(others) <= {1, 3, 4, 6, 7, 8}
        assert 1 <= one <= 8


def test_frechet_distance_of_known_normals() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=(200_000, 2)) * [1, 2]
    other = random.normal(size=(200_000, 2)) * [3, 2] + [0, 5]
    assert frechet.frechet_distance(one, other) == pytest.approx(25 + (3 - 1) ** 2, rel=0.02)
    assert frechet.frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def _mitigations() -> pa.Table:
    """Half 0: weak stops no copy, strong stops all; half 1: strong leaves one of four copies."""
    random = np.random.default_rng(0)
    rows = []
    for half in (0, 1):
        for number in range(8):
            memorized = number < 4
            for condition, moved in (("none", 0.0), (WEAK, 0.1), (STRONG, 0.3)):
                left = condition != STRONG or (half == 1 and number == 0)
                rows.append(
                    {
                        "condition": condition,
                        "target": condition,
                        "dose": 1.0,
                        "seed": 0,
                        "caption": f"caption {half} {number}",
                        "family": f"family {half} {number // 2}",
                        "memorized": memorized,
                        "half": half,
                        "noise_norm": 2.0 + number / 10 if memorized else number / 10,
                        "rmse": 0.02 + moved,
                        "copied": memorized and left,
                        "alignment": 0.5 - moved,
                        "features": random.normal(size=3).tolist(),
                        "image": np.full(PIXELS, round(100 + 255 * moved), np.uint8).tobytes(),
                    }
                )
    return pa.Table.from_pylist(rows)


def _doses() -> pa.Table:
    """Captions of half 1 again, under two doses of each target and of its sham."""
    table = _mitigations().filter(pa.array([False] * 24 + [True] * 24)).to_pylist()
    without_dose = [row for row in table if row["condition"] == "none"]
    targets = ("beginning", "beginning sham", "triggers", "triggers sham", "padding")
    dosed = [
        {**row, "condition": f"{target} {dose}", "target": target, "dose": dose}
        for target in targets
        for dose in (0.5, 2.0)
        for row in without_dose
    ]
    return pa.Table.from_pylist([*without_dose, *dosed])


@pytest.fixture(scope="module")
def result() -> Iterator[analysis.StudyResult]:
    features = np.random.default_rng(1).normal(size=(50, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "heldout_features", lambda: features)
        yield analysis.analyze(_mitigations(), _doses())


def test_settings_are_chosen_on_one_half_reported_on_the_other(
    result: analysis.StudyResult,
) -> None:
    summary = result.summary
    assert summary["best_setting"] == f"{STRONG}, selective", "changes other captions least"
    assert 0.7 < summary["threshold"] < 2.0
    assert (summary["memorized_before"], summary["memorized_after"]) == (1.0, 0.25)
    assert summary["memorized_reduction"] == 0.75
    assert summary["others_moved"] == 0
    rows = {row["setting"]: row for row in result.settings}
    assert rows[STRONG]["others_moved"] == pytest.approx(0.3, abs=0.005)
    assert rows[STRONG]["others_alignment"] == pytest.approx(0.2)
    assert rows[f"{STRONG}, selective"]["others_alignment"] == pytest.approx(0.5)
    low, high = rows[STRONG]["reproduced_low"], rows[STRONG]["reproduced_high"]
    assert (low, high) == (0.0, 0.5), "two families, and one of them has the copy"


@pytest.mark.slow
def test_results_are_written_as_tables_plots_and_a_page(
    result: analysis.StudyResult, tmp_path: Path
) -> None:
    cost = {"added_operations": 1e-4, "pairs": 20, "time_ratio": 1.0, "time_ratio_upper_95": 1.01}
    cost["identical_when_off"] = True
    findings.write_findings(tmp_path, result, cost, {"memorized": 4, "others": 3})
    assert pq.read_table(tmp_path / "settings.parquet").num_rows == 5
    assert (tmp_path / "doses.csv").read_text().count("\n") == 1 + 5 * 2 * 2
    for name in ("settings", "doses"):
        picture = (tmp_path / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 150_000
    page = (tmp_path / "findings.md").read_text()
    assert f"**{STRONG}, selective**" in page
    assert "1.0100" in page
    assert "the output is bitwise identical" in page
    assert "--memorized 4 --others 3`" in page


@pytest.mark.slow
def test_finished_tasks_are_not_computed_again(tmp_path: Path) -> None:
    tasks = [Task(f"task {n}", partial(pa.table, {"n": [n]})) for n in range(3)]
    pq.write_table(pa.table({"n": [100]}), tmp_path / "task-0.parquet")
    broken = Task("broken", partial(json.loads, "{"))
    with pytest.raises(ValueError, match="Expecting"):
        run_tasks(tmp_path, [*tasks, broken], workers=1)
    run_tasks(tmp_path, tasks, workers=1)
    assert read_tasks(tmp_path, tasks)["n"].to_pylist() == [100, 1, 2]
