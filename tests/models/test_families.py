"""Further transformer families, compared with their own pipelines."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation.inference import mitigate
from scanner.models import DiffusionModel, find_model, load_decoder, load_model
from scanner.models.families.registry import FAMILIES as ALL_FAMILIES
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
IN_ONE_BATCH = ("pixart", "sana", "aura-flow")
"""Whose pipelines run both branches in one batch, the caption's last."""
CAPTION_FIRST = ("z-image",)
"""As before, the caption's first."""
IN_TURN = ("cogview4", "lumina-2")
"""Whose pipelines run the branch with the caption and then the other, by default."""
REVERSED = ("lumina-2", "z-image")
"""Whose transformers predict −v, at the time 1 − σ."""
UNTRIMMED = ("flux", "aura-flow")
"""Whose padding is attended to."""


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
    calls: list[tuple[Tensor, float, Tensor]] = []

    def keep(_: Any, args: Any, given: dict[str, Any], output: Any) -> None:
        x = args[0] if args else given["hidden_states"]
        time = (args[1] if len(args) > 1 else given["timestep"])[0]
        values = [torch.stack(v)[:, :, 0] if isinstance(v, list) else v for v in (x, output[0])]
        calls.append((values[0], float(time), values[1]))

    def mask(_: Any, args: Any, given: dict[str, Any]) -> Any:
        return args, {**given, "attention_mask": given["attention_mask"].bool()}

    if kind in UNMASKED:
        pipe.transformer.register_forward_pre_hook(mask, with_kwargs=True)
    pipe.transformer.register_forward_hook(keep, with_kwargs=True)
    options = _options(kind)
    if kind in UNMASKED:
        options["guidance_scale"] = 1.0  # otherwise it runs the other branch in between
    pipe(CAPTION, output_type="latent", **options)
    if not kind.startswith((*IN_TURN, *IN_ONE_BATCH, *CAPTION_FIRST)):
        pipe("", output_type="latent", **options)
    every = 2 if kind in IN_TURN else 1
    first = calls[: every * STEPS : every]
    shape = model.latent_shape(SIZE, SIZE)
    times = [time for _, time, _ in first]
    if kind in REVERSED:
        times = [1 - time for time in times]
    if max(times) <= 1:  # of families whose pipelines divide by 1000
        times = [1000 * time for time in times]
    if model.noise_process.kind == "flow_matching":
        assert model.noise_process.timesteps(STEPS, shape) == pytest.approx(times, abs=1e-3)
    empty = model.encode_empty(shape)
    for text in (model.encode(model.tokenize([CAPTION]), shape), empty):
        for number, time in enumerate(times):
            call = every * number
            if text is empty and not kind.startswith((*IN_ONE_BATCH, *CAPTION_FIRST)):
                call += 1 if kind in IN_TURN else STEPS
            is_first = (text is empty) != (kind in CAPTION_FIRST)
            x_BCHW, expected = (
                _latents(model, values)[slice(0, 1) if is_first else slice(-1, None)]
                for values in (calls[call][0], calls[call][2])
            )
            found = model.predict(x_BCHW, time, text) * (-1 if kind in REVERSED else 1)
            worst = (found - expected[:, : shape[0]]).abs().max()
            assert worst < 1e-5, (kind, time, text is empty)
            assert found.std() > 0.01


def _options(kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {"height": SIZE, "width": SIZE, "num_inference_steps": STEPS}
    if kind.startswith(("pixart", "sana")):
        options |= {"clean_caption": False, "use_resolution_binning": False}
    if kind.startswith(IN_ONE_BATCH):
        options["negative_prompt"] = ""
    return options


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
    captions = ["red", "a red apple " * 4]
    tokens, shape = model.tokenize(captions), model.latent_shape(SIZE, SIZE)
    trimmed = model.trim(tokens)
    x_BCHW = torch.randn((2, *shape), generator=torch.manual_seed(0))
    whole, short = (
        model.predict(x_BCHW, 500, model.encode(one, shape)) for one in (tokens, trimmed)
    )
    assert torch.allclose(whole, short, atol=1e-5)
    if model.family in UNTRIMMED:
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
    options = {**_options(kind), "num_inference_steps": 2}
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
