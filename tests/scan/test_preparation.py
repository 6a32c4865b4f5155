"""From a scan's options to the model that an actor scores with."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scanner.models import canonical, find_model, load_tokenizer
from scanner.scan.config import ScanConfig
from scanner.scan.opening import options_record
from scanner.scan.preparation import prepare
from scanner.storage import Store
from tests.logs import logged


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
    scorer = pickle.loads(pickle.dumps(prepared.work(Store(str(tmp_path)))))().scorer
    assert scorer.model.weights == prepared.scorer.model.weights
    assert scorer.score(["a cat"]).equals(prepared.scorer.score(["a cat"]))
    assert not scorer.score(["a cat"]).equals(plain.scorer.score(["a cat"]))
    assert f"with LoRA {lora} times 0.5" in lines[0]
    assert "LoRA" not in lines[1]


def test_recorded_options_hold_what_changes_the_model(lora: str) -> None:
    def recorded(**options: Any) -> dict[str, Any]:
        config = ScanConfig(**options)
        return options_record(config, config.model_spec)

    assert recorded(lora=lora) != recorded()
    assert recorded(lora_scale=0.5) != recorded()
    assert recorded(model_config="some/model") != recorded()


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
