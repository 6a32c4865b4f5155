"""The study's fine-tuning runs: what weighs their samples, and how they are compared."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from jobs.studies.mitigation import tuning
from jobs.studies.mitigation.finetuning import (
    RUNS,
    measured_table,
    split_pairs,
    training_set,
    tuning_runs,
)
from jobs.studies.mitigation.weights import CountedWeights, oracle

KEYS = ["repeated 3.0", "repeated 3.1", "once 7", "repeated 4.29"]
TIMES = torch.zeros(4)
LOSSES = {"no guard": (0.20, 0.22, 0.24), "oracle": (0.20, 0.22, 0.22), "guard": (0.20, 0.23, 0.3)}


def test_the_oracle_drops_all_copies_but_the_first() -> None:
    assert oracle(TIMES, KEYS).tolist() == [1, 0, 1, 0]


def test_weights_are_counted_by_kind_of_sample() -> None:
    counted = CountedWeights(oracle)
    assert counted.take_means() == {"repeated": None, "once": None}
    for _ in range(2):
        counted(TIMES, KEYS, KEYS, TIMES)
    assert counted.total == 4
    assert counted.take_means() == {"repeated": pytest.approx(1 / 3), "once": 1.0}
    plain = CountedWeights(None)
    assert plain(TIMES, KEYS, KEYS, TIMES).tolist() == [1, 1, 1, 1]


def test_a_step_without_weights_is_joined_with_others() -> None:
    means = CountedWeights(None).take_means()
    assert [*means] == ["repeated", "once"], "the order of the columns"
    first = measured_table([("no guard", 0, 0, 0.2, 0.0, *means.values(), "a", 0.1, False)])
    later = measured_table([("no guard", 0, 100, 0.2, 9.0, 0.5, 1.0, "a", 0.1, False)])
    assert pa.concat_tables([first, later])["repeated_weight"].to_pylist() == [None, 0.5]


def test_settings_are_chosen_on_other_captions_than_reported() -> None:
    chosen, *_ = split_pairs(0)
    repeated, once, unseen = split_pairs()
    groups = [{caption for caption, _ in pairs} for pairs in (chosen, repeated, once, unseen)]
    assert sum(map(len, groups)) == len(set.union(*groups)), "no caption is in two groups"
    images = training_set(repeated, once)
    assert images.keys[0] == "repeated 0.0"
    assert sum(key.endswith(".0") for key in images.keys) == len(repeated)


def test_every_run_has_every_seed_and_its_own_name() -> None:
    runs = tuning_runs(steps=7, seeds=2)
    assert len({(run.name, run.seed) for run in runs}) == 2 * len(RUNS)
    assert {run.steps for run in runs} == {7}


def _table() -> pa.Table:
    """Two seeds at steps 0, 10 and 20; the runs but one train on half of the samples by weight."""
    rows = [
        {
            "run": run,
            "seed": seed,
            "step": step,
            "unseen_loss": LOSSES[run][number] + seed / 100,
            "effective_samples": step * (32.0 if run == "no guard" else 16.0),
            "repeated_weight": None if step == 0 else 0.5,
            "once_weight": None if step == 0 else 1.0,
            "caption": f"caption {caption}",
            "rmse": 0.1,
            "copied": run == "no guard" and step == 20 and caption < 2 + seed,
        }
        for run in LOSSES
        for seed in (0, 1)
        for number, step in enumerate((0, 10, 20))
        for caption in range(5)
    ]
    return pa.Table.from_pylist(rows)


def test_runs_are_compared_at_equal_steps_and_samples() -> None:
    rows = {(row["run"], row["step"]): row for row in tuning.analyze(_table())}
    plain, oracle = rows["no guard", 20], rows["oracle", 20]
    assert plain["reproduced"] == pytest.approx(0.5), "two and three of five captions"
    assert (plain["at_equal_steps"], plain["at_equal_samples"]) == (0, 0)
    assert oracle["unseen_loss"] == pytest.approx(0.225)
    assert (oracle["unseen_loss_low"], oracle["unseen_loss_high"]) == pytest.approx((0.22, 0.23))
    assert oracle["at_equal_steps"] == pytest.approx((0.22 / 0.24 + 0.23 / 0.25) / 2 - 1)
    assert oracle["at_equal_samples"] == pytest.approx(0), "as without a guard after 10 steps"
    assert tuning.summary(list(rows.values()))["oracle"]["reproduced"] == 0


@pytest.mark.slow
def test_the_page_has_the_table_and_its_command(tmp_path: Path) -> None:
    rows = tuning.analyze(_table())
    tuning.write(tmp_path, rows, {"tuning_steps": 20, "tuning_seeds": 2})
    assert pq.read_table(tmp_path / "tuning.parquet").num_rows == len(rows) == 9
    assert (tmp_path / "tuning.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "tuning.md").read_text(encoding="utf-8")
    assert "--tuning-steps 20 --tuning-seeds 2 --tuning-only`" in page
    assert "| guard | 20 |" in page
