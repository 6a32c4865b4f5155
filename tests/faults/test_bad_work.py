"""Work that runs out of memory, hangs, dies and gives NaN, all in one scan on real actors."""

from functools import partial
from pathlib import Path

import pytest
import ray

from scanner.captions.identity import caption_ids
from scanner.cluster import Execution, RetryLimits
from scanner.scan.config import ScanConfig
from scanner.scan.preparation import PreparedScan
from scanner.scan.scan import scan
from scanner.scan.score_plan import score_plan
from tests.faults.bad_work import POISON, BadWork
from tests.memscan import memscan
from tests.whole_scans import assert_nothing_lost, make_captions, scores

FAULTS = {"000001": "out of memory", "000003": "hangs", "000005": "dies"}


@pytest.mark.faults
def test_bad_work_costs_only_captions_without_finite_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = [f"some {POISON} {number}" for number in range(3)]
    path, out, whole = tmp_path / "a.csv", str(tmp_path / "run"), str(tmp_path / "whole")
    path.write_text("\n".join(["caption", *make_captions(160), *poisoned]) + "\n")
    memscan("scan", "--model", "testbed", "--captions", str(path), "--out", whole)

    make = PreparedScan.work
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(
        PreparedScan,
        "work",
        lambda self, store: BadWork(make(self, store), FAULTS, str(tmp_path / "notes")),
    )
    # A hang shows within the test's time, also on a busy machine where slices take long.
    limits = RetryLimits(hang_seconds=20.0, hang_factor=3.0)
    quick = partial(score_plan, execution=Execution(limits=limits))
    monkeypatch.setattr("scanner.scan.scan.score_plan", quick)
    config = ScanConfig(
        captions=(str(path),), out=out, model="testbed", slice_captions=20, actors=2
    )
    try:
        result = scan(config, lambda _: None)
    finally:
        ray.shutdown()
    assert sorted(note.name for note in (tmp_path / "notes").iterdir()) == [
        f"{name}-{fault}" for name, fault in FAULTS.items()
    ]
    assert result.manifest["counts"]["scan_rejects"] == len(poisoned)
    told = assert_nothing_lost(out, scores(whole), frozenset(caption_ids(poisoned).to_pylist()))
    (reason,) = [reason for reason in told["rejects"] if "finite" in reason]
    assert told["rejects"][reason] == len(poisoned)
    events = "\n".join(told["events"])
    assert "slice 000003 failed, requeued: no sign of life" in events
    assert "slice 000005 failed, requeued: its process died: killed, as" in events
