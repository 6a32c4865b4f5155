"""From a scan's options to the model that an actor scores with."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scanner.errors import UserError
from scanner.models import canonical, find_model, load_model, load_tokenizer
from scanner.models.files.weights import ENDING, STEMS
from scanner.scan.config import ScanConfig
from scanner.scan.opening import options_record
from scanner.scan.preparation import prepare
from scanner.scoring import Scorer
from scanner.storage import Store
from tests.logs import logged
from tests.models.damage import edit_weights, partial


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    stem = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora"
    save_file(
        {f"{stem}.down.weight": torch.ones(1, 32), f"{stem}.up.weight": torch.ones(32, 1)}, file
    )
    return str(file)


@pytest.mark.slow
def test_an_actor_scores_with_the_lora_that_the_scan_was_given(
    random_models: dict[str, Path], lora: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)  # of an actor's own process
    config = ScanConfig(model=str(random_models["sd1"]), lora=lora, lora_scale=0.5, device="cpu")
    with logged() as lines:
        prepared = prepare(config)
        plain = prepare(ScanConfig(model=str(random_models["sd1"]), device="cpu"))
    scorer, unfused = (
        pickle.loads(pickle.dumps(each.work(Store(str(tmp_path)))))().scorer
        for each in (prepared, plain)
    )
    assert scorer.fingerprint == prepared.scorer.fingerprint
    assert scorer.fingerprint["weights"] != unfused.fingerprint["weights"]
    expected = Scorer(load_model(prepared.files, device="cpu")).score(["a cat"])
    assert scorer.score(["a cat"]).equals(expected)
    assert not scorer.score(["a cat"]).equals(unfused.score(["a cat"]))
    assert f"with LoRA {lora} times 0.5" in lines[0]
    assert "LoRA" not in lines[1]


def test_recorded_options_hold_what_changes_the_model(lora: str) -> None:
    def recorded(**options: Any) -> dict[str, Any]:
        config = ScanConfig(**options)
        return options_record(config, config.model_spec)

    assert recorded(lora=lora) != recorded()
    assert recorded(lora_scale=0.5) != recorded()
    assert recorded(model_config="some/model") != recorded()


@pytest.mark.slow
def test_planning_elsewhere_needs_no_file_of_the_model(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(random_models["sd1"], model)
    make_canonical = pickle.dumps(
        prepare(ScanConfig(model=str(model), device="cpu")).make_canonical
    )
    shutil.rmtree(model)
    normalize = pickle.loads(make_canonical)()
    tokenizer = load_tokenizer(find_model(str(random_models["sd1"])))
    for caption in ("  The CAT's\ttoy ", "e\u0301té n° 7", ""):
        assert normalize(caption) == canonical(tokenizer, caption)
    assert normalize("  The CAT's\ttoy ") == "the cat's toy"


@pytest.mark.slow
def test_the_driver_holds_no_weights(random_models: dict[str, Path]) -> None:
    prepared = prepare(ScanConfig(model=str(random_models["sd2"]), device="cpu"))
    model = prepared.scorer.model
    for part in model.components.values():
        assert all(weight.is_meta for weight in part.parameters())
    assert model.weights == find_model(str(random_models["sd2"])).weights_hash()
    assert prepared.scorer.fingerprint["dtype"] == "float32"


@pytest.mark.parametrize("kind", ["sd1", "sd3", "pixart-sigma"])
def test_weights_that_do_not_load_are_refused_before_planning(
    random_folders: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(random_folders[kind], model)
    part = "unet" if kind == "sd1" else "transformer"
    edit_weights(f"{part}/{STEMS[1]}{ENDING}", partial)(model)
    with pytest.raises(UserError, match=f"{part}/: 2 weights missing"):
        prepare(ScanConfig(model=str(model), device="cpu"))
