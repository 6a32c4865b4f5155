"""Offloaded parts hold no weights on the device while they do not run, and give the same scores."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from accelerate.hooks import AlignDevicesHook
from diffusers.hooks.group_offloading import ModuleGroup
from torch import Tensor

from scanner.models import DiffusionModel, load_model
from scanner.models.device.device_memory import offloaded_bytes
from scanner.models.device.offloading import place
from scanner.probe.truncation import share_weights
from scanner.scoring import Scorer
from tests.random_families import FAMILIES
from tests.random_pipelines import KINDS
from tests.random_transformers import KINDS as TRANSFORMERS
from tests.scoring.test_scorer import assert_same_scores

CAPTIONS = ["a red apple on a table", "", "the word " * 90]
SIZE = {"height": 64, "width": 64}


@dataclass
class Device:
    """Weights that leave it are NaN until they are back. onloads: how often groups with
    weights were copied to it; most: the most bytes of weights on it at a time while it ran."""

    away: dict[int, Tensor] = field(default_factory=dict)
    whole: int = 0
    onloads: int = 0
    most: int = 0

    def onload(self, group: ModuleGroup) -> None:
        for weight in _weights(group):
            if id(weight) in self.away:
                weight.data = self.away.pop(id(weight))
        self.onloads += any(True for _ in _weights(group))
        held = self.whole - sum(weight.nbytes for weight in self.away.values())
        self.most = max(self.most, held)

    def offload(self, group: ModuleGroup) -> None:
        for weight in _weights(group):
            if id(weight) not in self.away:
                self.away[id(weight)] = weight.data
                weight.data = torch.full_like(weight, torch.nan)


def _weights(group: ModuleGroup) -> Iterator[Tensor]:
    for module in group.modules:
        yield from module.parameters()
    yield from group.parameters


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device with memory of its own, as far as offloaded denoisers can tell."""
    it = Device()
    monkeypatch.setattr(ModuleGroup, "_onload_from_memory", it.onload)
    monkeypatch.setattr(ModuleGroup, "_offload_to_memory", it.offload)
    monkeypatch.setattr(ModuleGroup, "onload_", lambda group: it.onload(group))
    monkeypatch.setattr(ModuleGroup, "offload_", lambda group: it.offload(group))
    return it


@pytest.fixture
def visits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the layers of text encoders, each time that one is copied to the device."""
    layers: list[str] = []
    pre_forward = AlignDevicesHook.pre_forward

    def counted(self, module, *arguments, **options):
        if self.offload:
            layers.append(type(module).__name__)
        return pre_forward(self, module, *arguments, **options)

    monkeypatch.setattr(AlignDevicesHook, "pre_forward", counted)
    return layers


def _parameter_bytes(model: DiffusionModel) -> int:
    return sum(weight.nbytes for weight in model.denoiser.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *TRANSFORMERS, *FAMILIES])
def test_scores_are_bitwise_those_of_parts_on_the_device(
    random_folders: dict[str, Path], kind: str, device: Device
) -> None:
    """With a replayed prefix, truncated copies and forwards of the whole denoiser."""
    model = load_model(str(random_folders[kind]), "float32", "cpu")
    plain = Scorer(model, "thorough", seeds=2, **SIZE)
    expected = plain.score(CAPTIONS)
    device.whole, most = _parameter_bytes(model), 0
    if plain.can_offload:
        most = offloaded_bytes(model.denoiser)
    place(model, "cpu", text_encoders=True, denoiser=plain.can_offload)
    assert plain.can_offload == (kind not in KINDS)
    for encoder in model.text_encoders.values():
        assert all(weight.is_meta for weight in encoder.parameters())
    assert not any(weight.is_meta for weight in model.denoiser.parameters())
    assert Scorer(model, "thorough", seeds=2, **SIZE).score(CAPTIONS) == expected
    if plain.can_offload:
        assert all(weight.isnan().all() for weight in model.denoiser.parameters())
        assert 0 < device.most <= min(most, 0.8 * device.whole)


@pytest.mark.slow
def test_a_truncated_copy_copies_only_its_blocks(
    random_folders: dict[str, Path], device: Device
) -> None:
    model = load_model(str(random_folders["flux"]), "float32", "cpu")
    place(model, "cpu", text_encoders=False, denoiser=True)
    scorer = Scorer(model, "triage", batch_size=2, **SIZE)
    scorer.score(CAPTIONS[:1])
    device.onloads = 0
    scorer.score(CAPTIONS[:1] * 4)
    blocks = len(model.early_layers)
    assert device.onloads == 2 * (1 + blocks), "the outer parts, then the blocks, in two batches"


@pytest.mark.slow
def test_encoders_are_copied_once_for_many_captions(
    random_folders: dict[str, Path], visits: list[str]
) -> None:
    captions = [f"{number} red apples " * (1 + number % 3 * 8) for number in range(9)]
    model = load_model(str(random_folders["pixart-sigma"]), "float32", "cpu")
    expected = Scorer(model, batch_size=2, **SIZE).score(captions)
    place(model, "cpu", text_encoders=True, denoiser=False)
    model.encode(model.tokenize(["one"]))
    once, tables = len(visits), []
    for ahead, encodings in ((0, 5), (4, 3), (8, 2), (100, 1)):
        visits.clear()
        scorer = Scorer(model, batch_size=2, encode_ahead=ahead, **SIZE)
        tables.append(scorer.score(captions))
        assert len(visits) == once * (1 + encodings), "and once for no caption"
    assert tables[0] == expected
    for table in tables[1:]:
        assert_same_scores(table, expected)


@pytest.mark.slow
def test_each_caption_is_encoded_once(random_models: dict[str, Path]) -> None:
    """For all seeds, noise levels, and steps of a trajectory, conditional or not."""
    model = load_model(str(random_models["sdxl"]), "float32", "cpu")
    rows: list[int] = []
    model.text_encoder_2.register_forward_pre_hook(
        lambda _, given: rows.append(len(given[0])), with_kwargs=False
    )
    Scorer(model, "trajectory", seeds=2, steps=3, batch_size=2).score(CAPTIONS)
    assert sorted(rows) == [1, 1, 2], "two batches, and the empty caption"


@pytest.mark.slow
def test_a_backward_reaches_the_offloaded_text(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd1"]), "float32", "cpu")
    expected = Scorer(model, signals=["token_gradient"]).score(CAPTIONS)
    place(model, "cpu", text_encoders=True, denoiser=False)
    assert Scorer(model, signals=["token_gradient"]).score(CAPTIONS) == expected


@pytest.mark.slow
def test_offloading_twice_changes_nothing(random_folders: dict[str, Path]) -> None:
    model = load_model(str(random_folders["sd3"]), "float32", "cpu")
    scores = []
    for _ in range(2):
        place(model, "cpu", text_encoders=True, denoiser=True)
        scores.append(Scorer(model, "triage").score(CAPTIONS))
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["token_gradient", "curvature", "gradient_gap"])
def test_a_differentiated_denoiser_is_not_offloaded(
    random_folders: dict[str, Path], signal: str
) -> None:
    model = load_model(str(random_folders["sd3"]), "float32", "meta")
    assert not Scorer(model, signals=[signal]).can_offload


@pytest.mark.parametrize("denoiser", [False, True])
def test_tables_outside_of_buffers_go_to_the_device(
    random_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, denoiser: bool
) -> None:
    """The meta device stands for one, without offloading, which it lacks; copies made later share
    the tables."""
    monkeypatch.setattr("scanner.models.device.offloading.offload_blocks", lambda *_: None)
    model = load_model(str(random_folders["lumina-2"]), "float32", "cpu")
    place(model, "meta", text_encoders=True, denoiser=denoiser)
    copied = share_weights(model.denoiser)
    assert all(table.is_meta for table in copied.rope_embedder.freqs_cis)
