"""What a scan keeps of slices that fail, and records of those that do not."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from scanner.cluster import Execution, RetryLimits
from scanner.run import Run
from scanner.scan.config import ScanConfig
from scanner.scan.preparation import SLICE_GFLOP, prepare
from scanner.scan.scan import scan
from scanner.scan.score_plan import score_plan
from scanner.scan.work import SliceScorer
from scanner.scoring.cost import cost

QUICK = Execution(limits=RetryLimits(delays=(0.01,)))


@pytest.mark.slow
def test_a_quarantined_slice_keeps_its_traceback_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("caption\n" + "".join(f"a red cat {n}\n" for n in range(3)))
    compute = SliceScorer.compute

    def fail(self: SliceScorer, prepared: Any) -> Any:
        if prepared.ids == [bad]:
            raise ValueError("s3://user:secret@host/x: no luck")
        return compute(self, prepared)

    bad = ""
    monkeypatch.setattr(SliceScorer, "compute", fail)
    monkeypatch.setattr("scanner.scan.scan.score_plan", partial(score_plan, execution=QUICK))
    config = ScanConfig(captions=(str(tmp_path / "a.csv"),), model="testbed", slice_captions=1)
    scan(ScanConfig(**{**vars(config), "out": str(tmp_path / "good")}), lambda _: None)
    good = Run.existing(str(tmp_path / "good"))
    plan = good.plan()
    assert plan is not None
    bad = plan.slices[1].first
    scan(ScanConfig(**{**vars(config), "out": str(tmp_path / "run")}), lambda _: None)
    (kept,) = (tmp_path / "run" / "quarantine").iterdir()
    record = json.loads(kept.read_text())
    assert kept.name == "000001.json"
    assert record["captions"] == 1
    assert record["node"]
    assert record["device"] == "cpu"
    assert record["environment"]["torch"] == torch.__version__
    assert "in fail\n" in record["traceback"]
    assert "secret" not in kept.read_text()
    for commit in good.commits.all():
        assert commit.notes["torch"] == torch.__version__
        assert commit.notes["device"] == "cpu"
        assert commit.notes["batch_size"] >= 1


@pytest.mark.slow
def test_slices_are_cut_by_counted_operations() -> None:
    prepared = prepare(ScanConfig(model="testbed", device="cpu", profile="trajectory", steps=200))
    counted = cost(prepared.scorer)
    gflop = counted.per_caption + counted.text_encoder
    rows = prepared.slice_rows(10**6)
    assert rows * gflop <= SLICE_GFLOP["cpu"] < (rows + 1) * gflop
