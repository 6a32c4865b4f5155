"""Layouts of published models that are not those of today's libraries, and are whole."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scanner.models import find_model, load_decoder, load_model
from tests.models.damage import (
    INDEX,
    TEXT,
    UNET_CONFIG,
    VAE,
    Change,
    edit_weights,
    prefixed,
    set_json,
    shard,
)


@pytest.fixture
def folder(random_models: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(random_models["sd1"], tmp_path / "model")


def _with_positions(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return prefixed("text_model.")(weights) | {
        "text_model.embeddings.position_ids": torch.arange(77)[None]
    }


def _of_a_whole_clip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    others = ("logit_scale", "text_projection.weight", "vision_model.post_layernorm.bias")
    return _with_positions(weights) | {name: torch.ones(1) for name in others}


def _old_attention(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    found = {}
    for key, value in weights.items():
        for new, old in names.items():
            key = key.replace(new, old) if "attentions" in key else key
        found[key] = value
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        edit_weights(TEXT, prefixed("text_model.")),
        edit_weights(TEXT, _with_positions),
        edit_weights(TEXT, _of_a_whole_clip),
        edit_weights(VAE, _old_attention),
        set_json(INDEX, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"]),
        set_json(UNET_CONFIG, decay=0.9999, optimization_step=10),
        shard,
    ],
    ids=["text_model", "positions", "clip", "old vae", "no checker", "ema model", "sharded"],
)
def test_published_layouts_load_with_the_same_weights(
    random_models: dict[str, Path], folder: Path, change: Change
) -> None:
    change(folder)
    files, plain = find_model(str(folder)), load_model(str(random_models["sd1"]))
    model = load_model(files)
    for part in model.parts:
        own, other = getattr(plain, part).state_dict(), getattr(model, part).state_dict()
        assert own.keys() == other.keys()
        assert all(torch.equal(own[key], other[key]) for key in own)
    assert load_decoder(files, "cpu")(torch.ones(1, 4, 8, 8)).isfinite().all()
