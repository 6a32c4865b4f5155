"""The guard in a training loop of further transformer families, or why it refuses them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_cogview4 import CogView4AttnProcessor
from torch import Tensor

from scanner.errors import UsageError
from scanner.mitigation import Guard
from scanner.mitigation.guard_signals import Signal
from scanner.models import DiffusionModel, load_model
from scanner.probe import watch_attention
from scanner.signals.attention import attention_entropy, of_text, text_share
from tests.mitigation.exclusions import mean_statistic
from tests.random_families import FAMILIES

CAPTIONS = ["a red apple", "", "the word on the red apple, 7"]
TIMES = torch.tensor([900.0, 400.0, 20.0])
SIZE = 64
ONE_SEQUENCE = ("lumina-2", "z-image")
WITHOUT_BEGINNING = ("pixart", "flux", "chroma", "qwen-image", "aura-flow")


@pytest.fixture(scope="module", params=FAMILIES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_families: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_families[kind]))


def _forward(model: DiffusionModel, captions: list[str] = CAPTIONS) -> Tensor:
    shape = model.latent_shape(SIZE, SIZE)
    noise = torch.randn((3, *shape), generator=torch.manual_seed(1))
    with torch.no_grad():
        text = model.encode(model.tokenize(captions), shape)
    return model.run(model.denoiser, noise, TIMES, text.hidden_BLC, text.added)


def _expected(model: DiffusionModel, signal: Signal, layer: int) -> Tensor:
    with watch_attention(model.denoiser, model.layers) as record, torch.no_grad():
        prediction = _forward(model)
        if signal == "noise_norm":
            return (prediction - _forward(model, [""] * 3)).flatten(1).norm(dim=1)
    abar_NBL = record.abar_NBL
    if signal == "text_share":
        return text_share(abar_NBL)[layer]
    if model.has_joint_attention:
        abar_NBL = of_text(abar_NBL)
    if signal == "entropy":
        return attention_entropy(abar_NBL)[layer]
    words_BL = model.tokenize(CAPTIONS).words_BL
    assert words_BL is not None
    return (abar_NBL[layer] * words_BL).sum(-1)


def test_a_guard_reads_the_signals_of_a_training_forward(kind: str, model: DiffusionModel) -> None:
    """Of the last layer alone, whose block has one stream in some families."""
    signals: list[Signal] = ["entropy", "prompt_mass", "noise_norm"]
    signals += ["text_share"] if model.has_joint_attention else []
    layer = len(model.layers) - 1
    if kind in ONE_SEQUENCE:
        for signal in signals:
            with pytest.raises(UsageError, match="takes a list of captions without padding"):
                _guard(model, signal, layer)
        signals = []
    for signal in signals:
        expected = _expected(model, signal, layer)
        with torch.no_grad():
            plain = _forward(model)
        with _guard(model, signal, layer) as guard:
            output = _forward(model)
            guard.loss_weights(TIMES, ["a", "b", "c"], CAPTIONS)
        assert torch.allclose(output, plain, atol=2e-5), signal
        for row, key in ((0, "a"), (2, "c")):
            found = mean_statistic(guard, key)
            assert found == pytest.approx(float(expected[row]), rel=1e-4), signal
        assert guard.extra_forwards == (signal == "noise_norm")


def _guard(model: DiffusionModel, signal: Signal, layer: int) -> Guard:
    empty: dict[str, Any] | None = None
    if signal == "noise_norm":
        shape = model.latent_shape(SIZE, SIZE)
        text = model.encode(model.tokenize([""]), shape)
        empty = {"encoder_hidden_states": text.hidden_BLC, **text.added}
        if "is_read_BL" in empty:
            positions = shape[1] * shape[2] // model.packing**2
            mask_BS = torch.nn.functional.pad(empty.pop("is_read_BL"), (0, positions), value=True)
            empty["attention_mask"] = mask_BS
        if "is_text_BL" in empty:
            empty["text_attn_mask"] = empty.pop("is_text_BL").int()
        for name in ("resolution", "aspect_ratio", "original_size", "target_size", "crop_coords"):
            empty.pop(name, None)  # of the image, so the same
    return Guard(model.denoiser, signal, (layer,), tokenize=model.tokenize, empty=empty)


def test_a_family_without_a_beginning_token_has_no_bos_mass(
    kind: str, model: DiffusionModel
) -> None:
    if kind.startswith(WITHOUT_BEGINNING):
        with pytest.raises(UsageError, match="needs a beginning token"):
            Guard(model.denoiser, "bos_mass")
    elif kind not in ONE_SEQUENCE:
        assert Guard(model.denoiser, "bos_mass").layers


def test_cogview4_needs_the_processor_for_training(
    random_families: dict[str, Path],
) -> None:
    transformer = load_model(str(random_families["cogview4"])).denoiser
    for block in transformer.transformer_blocks:
        block.attn1.set_processor(CogView4AttnProcessor())
    with pytest.raises(UsageError, match="set it on the attn1 of each block"):
        Guard(transformer, "entropy")


def test_the_loss_needs_no_recording(model: DiffusionModel) -> None:
    with Guard(model.denoiser, "loss", threshold=0.5) as guard:
        losses = _forward(model).square().flatten(1).mean(1).detach()
        weights = guard.loss_weights(TIMES, ["a", "b", "c"], CAPTIONS, losses)
    assert weights.tolist() == [1, 1, 1] if losses.min() > 0.5 else 0 in weights.tolist()
