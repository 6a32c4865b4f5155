"""A scan of an earlier run's captions scores with that run's model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.run import Run
from scanner.scan.config import ScanConfig
from scanner.scan.opening import (
    choose_model,
    log_inherited,
    refuse_other_weights,
    run_record,
)
from scanner.scan.preparation import prepare
from scanner.storage import Store
from tests.logs import logged
from tests.memscan import called

EARLIER = {
    "name": "/models/mine.safetensors",
    "revision": "abc",
    "pipeline": "StableDiffusionPipeline",
    "weights": "w",
    "model_config": "/models/config",
    "lora": "/models/lora.safetensors",
    "lora_scale": 0.5,
}


@pytest.fixture
def earlier(tmp_path: Path) -> str:
    run = Run(Store(str(tmp_path / "earlier")))
    options = {"model": {"config": "config", "lora": "lora.safetensors", "lora_scale": 0.5}}
    run.begin({"inputs": {}, "options": options, "model": EARLIER, "fingerprint": {"id": "f"}})
    return str(tmp_path / "earlier")


def test_the_model_is_that_of_the_earlier_run(earlier: str) -> None:
    config = ScanConfig(captions_from=earlier, dtype="float16")
    model = choose_model(config)
    with logged() as lines:
        log_inherited(config, model)
    assert (model.name, model.revision) == (EARLIER["name"], EARLIER["revision"])
    assert model.config == EARLIER["model_config"]
    assert (model.lora, model.lora_scale) == (EARLIER["lora"], EARLIER["lora_scale"])
    assert model.dtype == "float16", "its own"
    (line,) = lines
    assert f"model {EARLIER['name']}, LoRA {EARLIER['lora']} times 0.5: from {earlier}" in line


def test_given_options_override_the_earlier_run(earlier: str) -> None:
    given = ScanConfig(captions_from=earlier, model="testbed")
    assert choose_model(given) == given.model_spec
    other = choose_model(ScanConfig(captions_from=earlier, lora="mine"))
    assert (other.name, other.lora, other.lora_scale) == (EARLIER["name"], "mine", 1.0)
    weaker = choose_model(ScanConfig(captions_from=earlier, lora_scale=0.1))
    assert (weaker.lora, weaker.lora_scale) == (EARLIER["lora"], 0.1)


def test_without_an_earlier_run_the_model_is_the_default() -> None:
    model = choose_model(ScanConfig(captions=("a.csv",))).name
    assert model == "CompVis/stable-diffusion-v1-4"
    shown = " ".join(called("scan", "--help").stdout.replace("│", " ").split())
    assert f"Default: {model}; with memscan scan --captions-from" in shown


def test_a_model_that_has_changed_since_is_refused(earlier: str) -> None:
    given = ScanConfig(captions_from=earlier)
    refuse_other_weights(given, "w")
    with pytest.raises(UserError, match=r"model: /models/mine.* differ from those .*--model"):
        refuse_other_weights(given, "other")
    refuse_other_weights(replace(given, model="mine"), "other")
    refuse_other_weights(replace(given, lora_scale=0.1), "other")


def test_a_run_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        choose_model(ScanConfig(captions_from=str(tmp_path / "none")))


@pytest.mark.slow
def test_a_run_records_its_model_with_absolute_paths(
    random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(random_models["sd1"].parent)
    config = ScanConfig(model=random_models["sd1"].name, device="cpu")
    prepared = prepare(config)
    model = json.loads(json.dumps(run_record(prepared, {}, {})))["model"]
    assert model["name"] == str(random_models["sd1"])
    assert (model["lora"], model["lora_scale"], model["model_config"]) == (None, 1.0, None)
