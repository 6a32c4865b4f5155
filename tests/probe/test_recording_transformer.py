from pathlib import Path

import pytest
import torch
from diffusers.models.attention import JointTransformerBlock
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from scanner.models import Conditioning, DiffusionModel, load_model
from scanner.probe import (
    CompiledDenoiser,
    Prefix,
    RecordingDenoiser,
    record_prefix,
    recording_denoiser,
    truncation,
    watch_attention,
)
from scanner.probe.prefix import caption_free_modules
from scanner.probe.recording_transformer import RecordingTransformer
from tests.random_transformers import KINDS, LAYERS

CAPTIONS = ["a red apple", "The Great Wave", ""]
TIME = 1000.0


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_transformers: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_transformers[kind]))


def _latent(model: DiffusionModel, seed: int = 3) -> Tensor:
    return torch.randn(1, *model.latent_shape(), generator=torch.manual_seed(seed))


@torch.no_grad()
def _text(model: DiffusionModel) -> Conditioning:
    return model.encode(model.tokenize(CAPTIONS))


@torch.no_grad()
def _prefix(model: DiffusionModel, latent: Tensor, time: float) -> Prefix:
    with record_prefix(model.transformer) as prefix:
        model.predict(latent, time, model.encode_empty())
    return prefix


@torch.no_grad()
def _plain(model: DiffusionModel, latent: Tensor, time: float) -> tuple[Tensor, Tensor]:
    x = latent.expand(len(CAPTIONS), -1, -1, -1)
    with watch_attention(model.transformer, model.layers) as record:
        velocity = model.predict(x, time, _text(model))
    return velocity, record.abar_NBL


def _loaded(model: DiffusionModel, depth: int | None = None) -> RecordingDenoiser:
    recording = recording_denoiser(model.transformer, model.layers, model.run, depth)
    assert isinstance(recording, RecordingTransformer)
    recording.load(_latent(model), TIME, _prefix(model, _latent(model), TIME))
    return recording


@pytest.mark.slow
@torch.no_grad()
def test_one_instrumented_copy_serves_every_latent_and_step(model: DiffusionModel) -> None:
    recording = recording_denoiser(model.transformer, model.layers, model.run)
    text = _text(model)
    for seed, time in ((3, TIME), (4, TIME), (4, 500), (4, 8.25)):
        latent = _latent(model, seed)
        prefix = _prefix(model, latent, time)
        assert list(prefix) == ["pos_embed"]
        recording.load(latent, time, prefix)
        velocity, abar = recording(text.hidden_BLC, text.added)
        expected, plain_abar = _plain(model, latent, time)
        assert torch.allclose(velocity, expected, atol=1e-5)
        assert torch.allclose(abar, plain_abar, atol=1e-6)


@pytest.mark.slow
@torch.no_grad()
def test_every_depth_records_the_same_attention(model: DiffusionModel, kind: str) -> None:
    text, (_, whole) = _text(model), _plain(model, _latent(model), TIME)
    for depth in range(1, LAYERS[kind] + 1):
        recording = _loaded(model, depth)
        velocity, abar = recording(text.hidden_BLC, text.added)
        assert velocity is None
        assert torch.allclose(abar, whole[:depth], atol=1e-6)
        blocks = list(recording.transformer.transformer_blocks)
        assert sum(isinstance(block, JointTransformerBlock) for block in blocks) == depth


@torch.no_grad()
def test_a_truncated_transformer_runs_only_needed_parts(model: DiffusionModel) -> None:
    """Nothing after the second block's attention, and not the first part again."""
    recording, text = _loaded(model, 2), _text(model)
    ran: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.add(name))
        for name, module in model.transformer.named_modules()
    ]
    for name, module in recording.transformer.named_modules():
        if type(module).__module__ != truncation.__name__:  # stand-ins compute nothing
            module.register_forward_hook(lambda *_, name=name: ran.add(name))
    recording(text.hidden_BLC, text.added)
    for hook in hooks:
        hook.remove()
    second = {name for name in ran if name.startswith("transformer_blocks.1.")}
    assert "transformer_blocks.1.attn.to_k" in ran
    assert not [name for name in second if ".ff" in name or ".norm2" in name or ".attn2" in name]
    assert not [name for name in ran if name.startswith("transformer_blocks.2")]
    assert not [name for name in ran if name.startswith("pos_embed.")]
    assert not [name for name in second if name.endswith((".to_v", ".add_v_proj", "_out"))]
    assert not [name for name in ran if name.startswith(("norm_out", "proj_out"))]


@torch.no_grad()
def test_the_shared_prefix_is_replayed(model: DiffusionModel) -> None:
    recording = _loaded(model)
    kinds = [type(recording.copy.get_submodule(n)) for n in caption_free_modules(model.transformer)]
    assert [kind.__name__ for kind in kinds] == ["_Replay"]


@torch.no_grad()
def test_the_original_transformer_is_not_modified(model: DiffusionModel) -> None:
    before, processors = dict(model.transformer.named_modules()), model.transformer.attn_processors
    calls: list[int] = []
    hook = model.transformer.register_forward_hook(lambda *_: calls.append(1))
    recording, text = _loaded(model, 2), _text(model)
    calls.clear()
    recording(text.hidden_BLC, text.added)
    hook.remove()
    assert calls == []
    after = dict(model.transformer.named_modules())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    now = model.transformer.attn_processors
    assert all(now[name] is processors[name] for name in processors)
    own = dict(model.transformer.named_parameters())
    shared = dict(_loaded(model).transformer.named_parameters())
    assert all(own[name] is weight for name, weight in shared.items())


@torch.no_grad()
def test_padding_positions_cannot_be_left_out(model: DiffusionModel) -> None:
    """Padding and the zeros in place of T5 are attended to: without them, the velocity changes."""
    recording, text = _loaded(model), _text(model)
    velocity, abar = recording(text.hidden_BLC, text.added)
    short, short_abar = recording(text.hidden_BLC[:, :77], text.added)
    assert abar[:, :, 77:].sum(2).min() > 0.001
    assert (abar[:, :, :77] - short_abar).abs().max() > 0.01
    assert not torch.allclose(velocity, short, atol=1e-3)


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("depth", [2, None])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_whole_forward_is_one_graph_with_equal_outputs(
    random_transformers: dict[str, Path], backend: str, depth: int | None
) -> None:
    torch.compiler.reset()
    model = load_model(str(random_transformers["sd35-t5"]))
    text, recording = _text(model), _loaded(model, depth)
    counter = CompileCounterWithBackend(backend)
    run = CompiledDenoiser(recording, counter)
    for seed, time in ((3, TIME), (4, 500)):
        latent = _latent(model, seed)
        recording.load(latent, time, _prefix(model, latent, time))
        velocity, abar = run(text.hidden_BLC, text.added)
        expected, expected_abar = recording(text.hidden_BLC, text.added)
        assert torch.allclose(abar, expected_abar, atol=1e-6)
        assert (velocity is None) == (depth is not None)
        if velocity is not None:
            assert torch.allclose(velocity, expected, atol=1e-5)
    assert run.is_compiled
    assert counter.frame_count == 1, "other latents and steps reuse the graph"


@pytest.mark.inductor
@torch.inference_mode()
@pytest.mark.parametrize("depth", [2, None])
def test_machine_code_gives_equal_outputs(model: DiffusionModel, depth: int | None) -> None:
    torch.compiler.reset()
    text, recording = _text(model), _loaded(model, depth)
    run = CompiledDenoiser(recording)
    velocity, abar = run(text.hidden_BLC, text.added)
    expected, expected_abar = recording(text.hidden_BLC, text.added)
    assert run.is_compiled
    assert torch.allclose(abar, expected_abar, atol=1e-5)
    assert velocity is None or torch.allclose(velocity, expected, atol=1e-5)
