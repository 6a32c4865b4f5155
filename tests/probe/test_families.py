"""Recording in further transformer families, compared with whole softmaxes and plain forwards."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scanner.models import Conditioning, DiffusionModel, load_model
from scanner.probe import recording_denoiser, watch_attention
from scanner.probe.prefix import caption_free_modules
from scanner.scoring import Scorer
from scanner.scoring.cost import ForwardCosts, cost
from tests.random_families import FAMILIES, LAYERS

CAPTIONS = ["a red apple", "the word on the red apple, 7", ""]
SIZE = 64
TIME = 900
TOKENS = 16
"""Of the image, in families with joint attention."""
REGISTERS = {"aura-flow": 8}
"""Tokens before the text, which are neither text nor image."""
UNMASKED = ("flux", "aura-flow")
WITHOUT_END = ("sana", "cogview4", "lumina-2")
WITH_BEGINNING = ("sana", "cogview4", "lumina-2", "z-image")


@pytest.fixture(scope="module", params=FAMILIES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_families: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_families[kind]))


@pytest.fixture(scope="module")
def latents(model: DiffusionModel) -> Tensor:
    shape = (len(CAPTIONS), *model.latent_shape(SIZE, SIZE))
    return torch.randn(shape, generator=torch.manual_seed(0))


@pytest.fixture(scope="module")
def text(model: DiffusionModel) -> Conditioning:
    return model.encode(model.tokenize(CAPTIONS), model.latent_shape(SIZE, SIZE))


@torch.no_grad()
def test_watched_attention_is_that_of_whole_softmaxes(
    model: DiffusionModel, latents: Tensor, text: Conditioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every layer, from the queries and keys that the stock processors attend with."""
    stock: list[Tensor] = []
    fused = torch.nn.functional.scaled_dot_product_attention
    length, first = text.hidden_BLC.shape[1], REGISTERS.get(model.family, 0)

    def attend(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **options: Any
    ) -> Tensor:
        q, k = query, key
        logits = q.double() @ k.double().transpose(-1, -2) / math.sqrt(q.shape[-1])
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            logits = logits + attn_mask
        # Not of the image alone, or of the text alone.
        if k.shape[2] > first + length if model.has_joint_attention else q.shape[2] != k.shape[2]:
            attn = logits.softmax(-1)
            if model.has_joint_attention:
                attn = attn[:, :, first + length :][:, :, :TOKENS]
            stock.append(attn[..., first : first + length].mean(1))
        return fused(query, key, value, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    expected = model.predict(latents, TIME, text)
    monkeypatch.undo()
    assert len(stock) == len(model.layers)
    with watch_attention(model.denoiser, model.layers) as record:
        record.keeps_whole = True
        found = model.predict(latents, TIME, text)
    assert torch.allclose(found, expected, atol=2e-5)
    for number, whole_BPL in enumerate(stock):
        assert torch.allclose(record.whole[number].double(), whole_BPL, atol=1e-6)
        assert torch.allclose(record.abar_NBL[number].double(), whole_BPL.mean(1), atol=1e-6)
    shares = record.abar_NBL.sum(-1)
    assert shares.min() > 0.01
    assert (shares.max() < 1) == model.has_joint_attention


@torch.no_grad()
def test_masked_positions_have_no_attention(model: DiffusionModel, text: Conditioning) -> None:
    with watch_attention(model.denoiser, model.layers) as record:
        shape = (len(CAPTIONS), *model.latent_shape(SIZE, SIZE))
        model.predict(torch.zeros(shape), TIME, text)
    masks = [value for value in text.added.values() if value.shape == text.hidden_BLC.shape[:2]]
    assert len(masks) == (model.family not in UNMASKED)
    for mask_BL in masks:
        assert not mask_BL.all()
        assert record.abar_NBL[:, ~mask_BL.bool()].max() < 1e-6
        assert record.abar_NBL[:, mask_BL.bool()].min() > 0


@torch.no_grad()
def test_every_depth_equals_the_plain_way(
    kind: str, model: DiffusionModel, latents: Tensor, text: Conditioning
) -> None:
    """With the shared prefix replayed, of another caption."""
    x_1CHW = latents[:1]
    with watch_attention(model.denoiser, model.layers) as record:
        plain = model.predict(x_1CHW.expand(len(CAPTIONS), -1, -1, -1), TIME, text)
        whole = record.abar_NBL
    forwards = Scorer(model, "triage", height=SIZE, width=SIZE).forwards
    forwards._noise[0] = x_1CHW
    prefix = forwards.prefix(0, TIME)
    names = caption_free_modules(model.denoiser)
    assert list(prefix) == [name for name in names if not name.endswith("to_v")]
    for depth in (*range(1, LAYERS[kind] + 1), None):
        recording = recording_denoiser(model.denoiser, model.layers, model.run, depth)
        recording.load(x_1CHW, TIME, prefix)
        output, abar = recording(text.hidden_BLC, text.added)
        assert torch.allclose(abar, whole[:depth], atol=1e-6)
        assert (output is None) == (depth is not None)
    assert output is not None
    assert torch.allclose(model.noise_process.prediction(output, x_1CHW, TIME), plain, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_near_float32(
    model: DiffusionModel,
    random_families: dict[str, Path],
    kind: str,
    latents: Tensor,
    text: Conditioning,
    dtype: str,
) -> None:
    half = load_model(str(random_families[kind]), dtype)
    read = half.encode(half.tokenize(CAPTIONS), half.latent_shape(SIZE, SIZE))
    records = []
    for one, conditioning in ((model, text), (half, read)):
        with watch_attention(one.denoiser, one.layers) as record:
            predicted = one.predict(latents, TIME, conditioning)
        assert predicted.isfinite().all()
        records.append(record.abar_NBL)
    exact, found = records
    assert found.dtype == torch.float32
    far = (found - exact).abs().sum(-1) / exact.sum(-1)
    assert far.max() < {"float16": 0.03, "bfloat16": 0.2}[dtype]


def test_scores_are_independent_of_the_batch(model: DiffusionModel) -> None:
    """Of its size, of the other captions, and of their lengths."""
    longer = "a red apple on the word " * 12
    scorer = Scorer(model, "thorough", height=SIZE, width=SIZE, seeds=1, batch_size=4)
    together = scorer.score([*CAPTIONS, longer]).to_pylist()
    alone = [scorer.score([caption]).to_pylist()[0] for caption in (*CAPTIONS, longer)]
    for one, other in zip(together, alone, strict=True):
        for name, value in one.items():
            if name == "cosine_low_noise" and one["n_tokens"] == 1:
                continue  # the empty caption has no difference of predictions but rounding
            if isinstance(value, float):
                assert value == pytest.approx(other[name], rel=1e-3, abs=2e-5), name
            elif name.endswith(("_layers", "_seeds", "token_mass")):
                assert value == pytest.approx(other[name], abs=2e-5), name
            else:
                assert name == "triggers" or value == other[name], name
    assert len({row["entropy_e"] for row in together}) == len(together)


def test_the_table_names_an_embedded_guidance(model: DiffusionModel) -> None:
    schema = Scorer(model, "standard", height=SIZE, width=SIZE).schema
    name = "noise_norm_low" if "noise_norm_low" in schema.names else "velocity_norm_mid"
    said = schema.field(name).metadata.get(b"unconditional")
    expected = b"the empty caption at the model's own guidance scale, 3.5"
    assert said == (expected if model.family == "flux" else None)
    assert b"unconditional" not in schema.field("entropy_e").metadata


def test_a_trajectory_scores_what_the_text_allows(model: DiffusionModel) -> None:
    scorer = Scorer(model, "trajectory", height=SIZE, width=SIZE, steps=3)
    (row,) = scorer.score([CAPTIONS[0]]).to_pylist()
    assert row["noise_norm_mean"] > 0
    assert ("bright_ending" in row) == (model.family not in WITHOUT_END)
    assert ("bos_mass" in row) == (model.family in WITH_BEGINNING)


def test_costs_are_counted_on_the_meta_device(model: DiffusionModel) -> None:
    shape = model.latent_shape(SIZE, SIZE)
    forwards = ForwardCosts(model, shape)
    depths = [forwards.own(depth) for depth in range(1, len(model.layers) + 1)]
    assert depths == sorted(depths)
    assert 0 < depths[0] < depths[-1] < forwards.own(None) < 1.6 * forwards.whole
    counted = cost(Scorer(model, "triage", height=SIZE, width=SIZE), forwards)
    assert counted.per_caption == pytest.approx(forwards.own(len(model.early_layers)))
    assert counted.text_encoder > 0


@torch.inference_mode()
def test_a_forward_is_one_graph(
    model: DiffusionModel, kind: str, text: Conditioning, latents: Tensor
) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    from scanner.probe import CompiledDenoiser

    if kind not in ("pixart-sigma", "flux", "chroma"):
        pytest.skip("one family per kind of attention and block compiles")
    torch.compiler.reset()
    for depth in (3, None):
        recording = recording_denoiser(model.denoiser, model.layers, model.run, depth)
        recording.load(latents[:1], TIME, {})
        run = CompiledDenoiser(recording, CompileCounterWithBackend("eager"))
        output, abar = run(text.hidden_BLC, text.added)
        expected, expected_abar = recording(text.hidden_BLC, text.added)
        assert run.is_compiled
        assert torch.allclose(abar, expected_abar, atol=1e-6)
        assert output is expected or torch.allclose(output, expected, atol=1e-5)
