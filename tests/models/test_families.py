"""Further transformer families, compared with their own pipelines."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation.guard import Guard
from scanner.mitigation.inference import mitigate
from scanner.models import DiffusionModel, find_model, load_decoder, load_model
from scanner.models.families import FAMILIES as ALL_FAMILIES
from scanner.models.loading import local_tokenizer
from scanner.models.spec import ModelSpec
from scanner.models.traits import JOINT_FAMILIES
from scanner.models.transformer_model import pack, unpack
from scanner.scoring.words import words_in
from tests.memscan import called
from tests.random_families import FAMILIES, LAYERS

CAPTION = " A red  apple on the Table, 7 "
SIZE = 64
STEPS = 3
UNMASKED = ("chroma",)
"""Whose pipeline adds its mask to the logits instead of masking."""


@pytest.fixture(scope="module", params=FAMILIES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_families: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_families[kind]))


def _latents(model: DiffusionModel, values: Tensor) -> Tensor:
    side = model.latent_shape(SIZE, SIZE)[1]
    return values if values.ndim == 4 else unpack(values, side)


@torch.no_grad()
def test_it_predicts_what_its_pipeline_predicts(
    kind: str, model: DiffusionModel, random_families: dict[str, Path]
) -> None:
    """Text, timesteps, and the prediction with and without a caption."""
    pipe = DiffusionPipeline.from_pretrained(random_families[kind])
    pipe.set_progress_bar_config(disable=True)
    calls: list[tuple[Any, Any]] = []

    def keep(_: Any, args: Any, given: dict[str, Any], output: Any) -> None:
        calls.append(({**given, **({"hidden_states": args[0]} if args else {})}, output[0]))

    def mask(_: Any, args: Any, given: dict[str, Any]) -> Any:
        return args, {**given, "attention_mask": given["attention_mask"].bool()}

    if kind in UNMASKED:
        pipe.transformer.register_forward_pre_hook(mask, with_kwargs=True)
    pipe.transformer.register_forward_hook(keep, with_kwargs=True)
    options: dict[str, Any] = {"height": SIZE, "width": SIZE, "num_inference_steps": STEPS}
    if kind.startswith(("pixart", "sana")):
        options |= {"clean_caption": False, "use_resolution_binning": False}
    if kind in UNMASKED:
        options["guidance_scale"] = 1.0  # otherwise it runs the other branch in between
    for caption in (CAPTION, ""):
        # PixArt's and Sana's pipelines run both branches in one batch, the caption's last.
        extra = {"negative_prompt": ""} if kind.startswith(("pixart", "sana")) else {}
        pipe(caption, output_type="latent", **options, **extra)
    shape = model.latent_shape(SIZE, SIZE)
    times = [float(given["timestep"][0]) for given, _ in calls[:STEPS]]
    if calls[0][0]["hidden_states"].ndim == 3:  # of families whose pipelines divide by 1000
        times = [1000 * time for time in times]
    if model.noise_process.kind == "flow_matching":
        assert model.noise_process.timesteps(STEPS, shape) == pytest.approx(times, abs=1e-3)
    empty = model.encode_empty(shape)
    for first, text in ((0, model.encode(model.tokenize([CAPTION]), shape)), (STEPS, empty)):
        for (given, output), time in zip(calls[first : first + STEPS], times, strict=True):
            row = slice(0, 1) if text is empty else slice(-1, None)
            x_BCHW = _latents(model, given["hidden_states"])[row]
            expected = _latents(model, output)[row, : shape[0]]
            found = model.predict(x_BCHW, time, text)
            assert torch.allclose(found, expected, atol=1e-5), (found - expected).abs().max()
            assert found.std() > 0.01


def test_captions_change_the_prediction(model: DiffusionModel) -> None:
    shape = model.latent_shape(SIZE, SIZE)
    x_BCHW = torch.randn((2, *shape), generator=torch.manual_seed(0))[:1].expand(2, -1, -1, -1)
    text = model.encode(model.tokenize(["a", "red apple"]), shape)
    one, other = model.predict(x_BCHW, 900, text)
    assert (one - other).abs().max() > 0.001


def test_the_words_are_those_of_the_caption(model: DiffusionModel, kind: str) -> None:
    tokens = model.tokenize([CAPTION, "", "a"])
    assert tokens.words_BL is not None
    assert tokens.begins == model.begins
    assert not tokens.words_BL[1].any()
    (positions,) = tokens.words_BL[0].nonzero(as_tuple=True)
    n = int(tokens.n_B[0])
    assert positions.tolist() == list(range(int(positions[0]), n - 1))
    assert int(positions[0]) >= tokens.begins
    words = words_in(tokens.spans[0], tokens.words[0], n, tokens.begins)
    assert [CAPTION[word.start : word.end] for word in words] == CAPTION.split()


def test_trimming_changes_no_prediction(model: DiffusionModel) -> None:
    """Captions with padding that is masked, of other lengths than the batch's longest."""
    captions = ["red", "a red apple " * 9]
    tokens, shape = model.tokenize(captions), model.latent_shape(SIZE, SIZE)
    trimmed = model.trim(tokens)
    x_BCHW = torch.randn((2, *shape), generator=torch.manual_seed(0))
    whole, short = (
        model.predict(x_BCHW, 500, model.encode(one, shape)) for one in (tokens, trimmed)
    )
    assert torch.allclose(whole, short, atol=1e-5)
    if model.family == "flux":
        assert trimmed is tokens
    else:
        assert trimmed.ids_BL.shape[1] < tokens.ids_BL.shape[1]


def test_layers_are_in_run_order(model: DiffusionModel, kind: str) -> None:
    ran: list[str] = []
    hooks = [
        model.denoiser.get_submodule(name).register_forward_hook(
            lambda *_, name=name: ran.append(name)
        )
        for name in model.layers
    ]
    shape = model.latent_shape(SIZE, SIZE)
    model.predict(torch.zeros((1, *shape)), 500, model.encode_empty(shape))
    for hook in hooks:
        hook.remove()
    assert ran == model.layers
    assert len(ran) == LAYERS[kind]


def test_packed_latents_are_those_of_the_pipelines() -> None:
    from diffusers import FluxPipeline

    x_BCHW = torch.randn(2, 16, 8, 6)
    assert torch.equal(pack(x_BCHW), FluxPipeline._pack_latents(x_BCHW, 2, 16, 8, 6))
    assert torch.equal(unpack(pack(x_BCHW), 8), x_BCHW)


@torch.no_grad()
def test_latents_are_decoded_as_the_pipeline_does(
    kind: str, model: DiffusionModel, random_families: dict[str, Path]
) -> None:
    pipe = DiffusionPipeline.from_pretrained(random_families[kind])
    pipe.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"height": SIZE, "width": SIZE, "num_inference_steps": 2}
    if kind.startswith(("pixart", "sana")):
        options |= {"clean_caption": False, "use_resolution_binning": False}
    latents, images = (
        pipe(CAPTION, generator=torch.manual_seed(0), output_type=kind_of, **options).images
        for kind_of in ("latent", "pt")
    )
    decode = load_decoder(find_model(str(random_families[kind])), "cpu")
    found = decode(_latents(model, latents))
    assert torch.allclose(found, images, atol=1e-4), (found - images).abs().max()


def test_what_is_not_supported_is_refused(
    kind: str, model: DiffusionModel, random_families: dict[str, Path], tmp_path: Path
) -> None:
    folder, named = str(random_families[kind]), type(model.denoiser).__name__
    pipe = DiffusionPipeline.from_pretrained(folder)
    with pytest.raises(UserError, match=f"mitigation: a {named} is not supported"), mitigate(pipe):
        pass
    with pytest.raises(UserError, match=f"guard: a {named} is not supported"):
        Guard(model.denoiser, "bos_mass")
    with pytest.raises(UserError, match=f"words: a {named} is not supported"):
        local_tokenizer(ModelSpec(folder))
    files = find_model(folder)
    with pytest.raises(UserError, match=f"verify: a {named} is not supported"):
        files.refuse_only_scanned("verify")
    if kind == "flux":
        done = called("explain", "a", "--model", folder, "--out", f"{tmp_path}/p.html", check=False)
        assert done.returncode != 0
        assert f"explain: a {named} is not supported; use Stable Diffusion" in done.stderr


def test_families_with_joint_attention_are_known_without_torch() -> None:
    joint = {family.family for family in ALL_FAMILIES.values() if family.has_joint_attention}
    assert joint == JOINT_FAMILIES
