"""Changes to a model's directory, for tests to make."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Change = Callable[[Path], Any]
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def set_json(file: str, **values: Any) -> Change:
    """Set entries of a JSON file; ... removes one."""

    def change(folder: Path) -> None:
        old = json.loads((folder / file).read_text())
        new = {key: value for key, value in (old | values).items() if value is not ...}
        (folder / file).write_text(json.dumps(new))

    return change


def set_text(file: str, text: str) -> Change:
    return lambda folder: (folder / file).write_text(text)


def remove(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def edit_weights(file: str, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Change:
    return lambda folder: save_file(edit(load_file(folder / file)), folder / file)


def prefixed(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda weights: {f"{prefix}{key}": value for key, value in weights.items()}


def partial(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(sorted(weights.items())[2:])


def with_another(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"adapter.weight": torch.ones(2)}


def misshapen(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value[:1].contiguous() for key, value in weights.items()}


def rename(old: str, new: str) -> Change:
    return lambda folder: (folder / old).rename(folder / new)


def truncate(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:-100])


def shard(folder: Path, shards: int = 2) -> None:
    """The U-Net in shards, as save_pretrained(max_shard_size=...) leaves it."""
    weights = sorted(load_file(folder / UNET).items())
    (folder / UNET).unlink()
    places = {}
    for number in range(shards):
        name = f"diffusion_pytorch_model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(weights[number::shards])
        save_file(part, folder / "unet" / name, {"format": "pt"})
        places |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / f"{UNET}.index.json").write_text(json.dumps(index))


def lose_a_shard(folder: Path) -> None:
    shard(folder)
    (folder / "unet/diffusion_pytorch_model-00002-of-00002.safetensors").unlink()


def let_index_climb(folder: Path) -> None:
    index = {"weight_map": {"a": "../vae/diffusion_pytorch_model.safetensors"}}
    (folder / f"{UNET}.index.json").write_text(json.dumps(index))


def leave_training_output(folder: Path) -> None:
    remove("model_index.json", "vae", "text_encoder", "tokenizer", "scheduler")(folder)
    (folder / "optimizer.bin").write_bytes(b"")


def empty(folder: Path) -> None:
    remove(*(path.name for path in folder.iterdir()))(folder)


def make_directory(file: str) -> Change:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return change


INDEX, UNET_CONFIG, TEXT_CONFIG = "model_index.json", "unet/config.json", "text_encoder/config.json"
TOKENIZER, OPTIONS = "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"
SCHEDULER, VAE_CONFIG = "scheduler/scheduler_config.json", "vae/config.json"
