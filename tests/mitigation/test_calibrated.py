"""Mitigation of the captions that a calibration flags, on the testbed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from scanner.errors import UsageError, UserError
from scanner.mitigation import mitigate
from scanner.models import load_model
from scanner.scoring import Scorer
from scanner.testbed import files, labels
from tests.mitigation.latents import generate
from tests.random_pipelines import make_random_pipeline


@pytest.fixture(scope="module")
def testbed() -> Any:
    pipe = DiffusionPipeline.from_pretrained(files.MODEL, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _some(memorized: bool) -> list[str]:
    rows = labels().to_pylist()
    if memorized:
        return [row["caption"] for row in rows if row["memorized"]][::11]
    return [row["caption"] for row in rows if row["group"] == "heldout"][:12]


STOP: dict[str, Any] = {"callback_on_step_end": lambda *args: _stop_after_first_step(*args)}


@pytest.mark.slow
def test_a_calibrated_threshold_flags_memorized_captions(testbed: Any) -> None:
    calibration = str(files.TESTBEDS["testbed"].calibration)
    with mitigate(testbed, "ren", calibration=calibration) as record:
        with pytest.raises(UserError, match="4 x 8 x 8"):
            testbed(_some(True)[0], num_inference_steps=50, height=64, width=128)
        generate(testbed, _some(True) + _some(False), steps=20, **STOP)
        flagged = record.flagged_N.tolist()
        assert sum(flagged[:12]) >= 10, "its TPR is 100 %"
        assert not any(flagged[12:])
        assert record.extra_forwards == 2  # one to measure, one to repeat the first step
    with (
        pytest.raises(UsageError, match="not both"),
        mitigate(testbed, threshold=1, calibration="x"),
    ):
        pass


@pytest.mark.slow
def test_the_low_noise_norm_is_that_of_a_scan(testbed: Any) -> None:
    captions = _some(True)[:2] + _some(False)[:2]
    scorer = Scorer(load_model("testbed"), signals=("noise_norm_low",))
    expected = scorer.score(captions)["noise_norm_low"].to_pylist()
    with mitigate(testbed, calibration=str(files.TESTBEDS["testbed"].calibration)) as record:
        generator = [torch.Generator().manual_seed(0) for _ in captions]
        testbed(captions, num_inference_steps=7, generator=generator, output_type="latent", **STOP)
    assert record.noise_norm_N.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_first_step_threshold_needs_the_calibrated_steps(testbed: Any, tmp_path: Path) -> None:
    record = json.loads(files.TESTBEDS["testbed"].calibration.read_text())
    norm = next(one for one in record["thresholds"] if one["signal"] == "noise_norm_low")
    record["thresholds"] = [{**norm, "signal": "noise_norm_first", "threshold": 1.069}]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(record))
    with mitigate(testbed, "ren", calibration=str(path)) as running:
        with pytest.raises(UserError, match="num_inference_steps=50"):
            generate(testbed, _some(True), steps=20)
        generate(testbed, _some(True) + _some(False), steps=50, **STOP)
        flagged = running.flagged_N.tolist()
        assert sum(flagged[:12]) >= 6, "its TPR is 77 %"
        assert not any(flagged[12:])


def _stop_after_first_step(pipe: Any, step: int, timestep: Any, tensors: Any) -> Any:
    pipe._interrupt = True
    return tensors


def test_a_calibration_without_the_signal_is_refused(tmp_path: Path) -> None:
    record = json.loads(files.TESTBEDS["testbed"].calibration.read_text())
    record["thresholds"] = [t for t in record["thresholds"] if t["signal"] == "entropy_e"]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(record))
    with (
        pytest.raises(UserError, match="no threshold for noise_norm_low or noise_norm_first"),
        mitigate(make_random_pipeline("sd1"), calibration=str(path)),
    ):
        pass
