"""The hash of a model is of what is loaded from its files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from scanner.models import ModelSpec, find_model, load_model
from tests.random_pipelines import KINDS

UNET = "unet/diffusion_pytorch_model.safetensors"


def _hash(folder: Path) -> str:
    return find_model(str(folder)).weights_hash()


def _set(file: str, **values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def _add_files(folder: Path) -> None:
    for name in ("notes.json", "unet/notes.json", "tokenizer/README.txt", "scheduler/old.json"):
        (folder / name).write_text("[1]")
    shutil.copy(folder / UNET, folder / "unet/diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(folder / UNET, folder / "unet/other.safetensors")


def _reorder(folder: Path) -> None:
    weights = load_file(folder / UNET)
    save_file(dict(reversed(weights.items())), folder / UNET, {"trained": "today"})


def _prefix(folder: Path) -> None:
    """As transformers 4 named a text encoder's weights."""
    path = folder / "text_encoder/model.safetensors"
    weights = {f"text_model.{key}": value for key, value in load_file(path).items()}
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(weights | positions, path)


@pytest.fixture
def folder(random_models: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(random_models["sd1"], tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_saved_again_in_shards_has_the_same_hash(
    random_models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    pipe = DiffusionPipeline.from_pretrained(random_models[kind])
    pipe.save_pretrained(tmp_path / "again", max_shard_size="100KB")
    assert len(list((tmp_path / "again").rglob("*-of-*.safetensors"))) > 10
    assert _hash(tmp_path / "again") == _hash(random_models[kind])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        _add_files,
        _reorder,
        _prefix,
        _set("scheduler/scheduler_config.json", _class_name="DDIMScheduler", clip_sample=True),
        _set("unet/config.json", _name_or_path="elsewhere", _diffusers_version="0.1"),
        _set("text_encoder/config.json", torch_dtype="float16", transformers_version="4.0"),
    ],
    ids=["files", "order", "prefix", "scheduler", "path", "version"],
)
def test_what_decides_no_score_does_not_change_the_hash(
    random_models: dict[str, Path], folder: Path, change: Callable[[Path], object]
) -> None:
    change(folder)
    assert _hash(folder) == _hash(random_models["sd1"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        _set("scheduler/scheduler_config.json", beta_end=0.02),
        _set("text_encoder/config.json", hidden_act="gelu"),
        _set("unet/config.json", attention_head_dim=4),
        _set("tokenizer/tokenizer_config.json", model_max_length=70),
        _set("tokenizer/tokenizer_config.json", pad_token="!"),
        _set("vae/config.json", block_out_channels=[8, 8, 8]),
    ],
    ids=["noise", "activation", "heads", "length", "padding", "size"],
)
def test_settings_that_decide_a_score_change_the_hash(
    random_models: dict[str, Path], folder: Path, change: Callable[[Path], object]
) -> None:
    change(folder)
    assert _hash(folder) != _hash(random_models["sd1"])


def test_a_change_of_the_vocabulary_changes_the_hash(
    random_models: dict[str, Path], folder: Path
) -> None:
    path = folder / "tokenizer/tokenizer.json"
    tokenizer = json.loads(path.read_text())
    merges = tokenizer["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]
    path.write_text(json.dumps(tokenizer))
    assert _hash(folder) != _hash(random_models["sd1"])


@pytest.mark.slow
def test_the_hash_is_of_stored_weights_whatever_the_precision(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    files = find_model(str(random_models["sd1"]))
    hashes = {load_model(files, dtype=dtype).weights for dtype in ("float32", "bfloat16")}
    assert hashes == {files.weights_hash()}
    half = DiffusionPipeline.from_pretrained(random_models["sd1"]).to(dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    assert _hash(tmp_path / "half") not in hashes


def test_the_hash_covers_the_scales_that_a_lora_has_beside_it(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    stem = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    weights = {
        f"{stem}.lora_A.weight": torch.ones(1, 32),
        f"{stem}.lora_B.weight": torch.ones(32, 1),
    }
    hashes = set()
    for number, alpha in enumerate((1, 2)):
        file = tmp_path / f"{number}.safetensors"
        config = {"unet.r": 1, "unet.lora_alpha": alpha, "unet.target_modules": [stem]}
        save_file(weights, file, {"format": "pt", "lora_adapter_metadata": json.dumps(config)})
        hashes.add(find_model(ModelSpec(str(random_models["sd1"]), lora=str(file))).weights_hash())
    assert len(hashes) == 2
