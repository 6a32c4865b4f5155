"""Offloaded text encoders hold no weights on the device, and give the same scores."""

from pathlib import Path

import pytest
import torch

from scanner.models import load_model
from scanner.models.offloading import offload_text_encoders
from scanner.scoring import Scorer
from tests.random_families import FAMILIES
from tests.random_pipelines import KINDS
from tests.random_transformers import KINDS as TRANSFORMERS

CAPTIONS = ["a red apple on a table", "", "the word " * 90]


@pytest.mark.parametrize("kind", [*KINDS, *TRANSFORMERS, *FAMILIES])
def test_scores_are_bitwise_those_of_encoders_on_the_device(
    random_folders: dict[str, Path], kind: str
) -> None:
    size = {"height": 64, "width": 64}
    model = load_model(str(random_folders[kind]), "float32", "cpu")
    expected = Scorer(model, "standard", seeds=2, **size).score(CAPTIONS)
    offload_text_encoders(model, "cpu")
    for encoder in model.text_encoders.values():
        assert all(weight.is_meta for weight in encoder.parameters())
    assert not any(weight.is_meta for weight in model.denoiser.parameters())
    assert Scorer(model, "standard", seeds=2, **size).score(CAPTIONS) == expected


def test_a_backward_reaches_the_offloaded_text(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]), "float32", "cpu")
    expected = Scorer(model, signals=["token_gradient"]).score(CAPTIONS)
    offload_text_encoders(model, "cpu")
    assert Scorer(model, signals=["token_gradient"]).score(CAPTIONS) == expected


def test_offloading_twice_changes_nothing(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]), "float32", "cpu")
    text = model.encode(model.tokenize(CAPTIONS)).hidden_BLC
    for _ in range(2):
        offload_text_encoders(model, "cpu")
        assert torch.equal(model.encode(model.tokenize(CAPTIONS)).hidden_BLC, text)
