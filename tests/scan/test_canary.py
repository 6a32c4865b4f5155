"""Before its first slice, an actor tries its device with one forward, whatever the profile."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from scanner.cluster import BrokenDevice
from scanner.models import load_model
from scanner.scan.work import SliceScorer
from scanner.scoring import Scorer
from scanner.scoring.scorer import ScoreError
from scanner.storage import Store
from tests.scoring.counting import count_forwards


def _work(tmp_path: Path, profile: str = "standard") -> SliceScorer:
    scorer = Scorer(load_model("testbed"), profile=profile, steps=20)
    return SliceScorer(Store(str(tmp_path)), scorer, "batch_sizes/cpu.json", {})


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["triage", "standard", "trajectory"])
def test_a_device_is_tried_with_one_forward_and_its_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    work = _work(tmp_path, profile)
    tuned = vars(work.scorer.batch).copy()
    calls = count_forwards(monkeypatch)
    work.prove()
    assert len(calls) == 2
    assert vars(work.scorer.batch) == tuned, "the canary does not tune the batch size"


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["triage", "trajectory"])
def test_a_device_whose_kernels_fail_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")

    work = _work(tmp_path, profile)
    monkeypatch.setattr(UNet2DConditionModel, "forward", fail)
    with pytest.raises(BrokenDevice, match="ECC"):
        work.prove()


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["triage", "trajectory"])
def test_a_device_that_computes_no_number_is_refused(tmp_path: Path, profile: str) -> None:
    work = _work(tmp_path, profile)
    with torch.no_grad():
        work.scorer.model.unet.conv_in.weight.fill_(float("nan"))
    with pytest.raises(ScoreError, match="not finite"):
        work.prove()
