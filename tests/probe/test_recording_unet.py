from pathlib import Path

import pytest
import torch

from scanner.models import Conditioning, DiffusionModel, load_model
from scanner.probe import RecordingUNet, record_prefix, watch_attention
from scanner.probe.lean import LeanResnet
from scanner.probe.prefix import caption_free_modules
from tests.random_pipelines import KINDS

CAPTIONS = ["a red apple", "The Great Wave", ""]
TIME = 981


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_models: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_models[kind]))


def _latent(model: DiffusionModel, seed: int = 3) -> torch.Tensor:
    return torch.randn(1, *model.latent_shape(), generator=torch.manual_seed(seed))


@torch.no_grad()
def _text(model: DiffusionModel) -> Conditioning:
    return model.encode(model.tokenize(CAPTIONS))


@torch.no_grad()
def _prefix(model: DiffusionModel, latent: torch.Tensor, time: int) -> dict[str, torch.Tensor]:
    with record_prefix(model.unet) as prefix:
        model.predict(latent, time, model.encode_empty())
    return prefix


@torch.no_grad()
def _plain(
    model: DiffusionModel, latent: torch.Tensor, time: int
) -> tuple[torch.Tensor, torch.Tensor]:
    x = latent.expand(len(CAPTIONS), -1, -1, -1)
    with watch_attention(model.unet, model.layers) as record:
        noise = model.predict(x, time, _text(model))
    return noise, record.abar_NBL


@pytest.mark.slow
@torch.no_grad()
def test_one_instrumented_copy_serves_every_latent_and_step(
    model: DiffusionModel, kind: str
) -> None:
    recording = RecordingUNet(model.unet, model.layers)
    text = _text(model)
    for seed, time in ((3, TIME), (4, TIME), (4, 41)):
        latent = _latent(model, seed)
        prefix = _prefix(model, latent, time)
        assert len(prefix) == (1 if kind == "sdxl" else 8)
        recording.load(latent, time, prefix)
        guess, abar = recording(text.hidden_BLC, text.added)
        noise, plain_abar = _plain(model, latent, time)
        assert torch.allclose(model.noise_process.prediction(guess, latent, time), noise, atol=1e-5)
        assert torch.allclose(abar, plain_abar, atol=1e-6)


@torch.no_grad()
def test_the_shared_prefix_is_not_computed_again(model: DiffusionModel) -> None:
    recording = RecordingUNet(model.unet, model.layers)
    recording.load(_latent(model), TIME, _prefix(model, _latent(model), TIME))
    ran = []
    for name in caption_free_modules(model.unet):
        model.unet.get_submodule(name).register_forward_hook(lambda *_: ran.append("original"))
    text = _text(model)
    recording(text.hidden_BLC, text.added)
    for module in model.unet.modules():
        module._forward_hooks.clear()
    assert ran == []
    kinds = {type(recording.unet.get_submodule(name)) for name in caption_free_modules(model.unet)}
    assert {kind.__name__ for kind in kinds} == {"_Replay"}


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 4, 7, 16])
def test_a_truncated_unet_records_the_same_attention(model: DiffusionModel, depth: int) -> None:
    recording = RecordingUNet(model.unet, model.layers, depth)
    recording.load(_latent(model), TIME, _prefix(model, _latent(model), TIME))
    text = _text(model)
    noise, abar = recording(text.hidden_BLC, text.added)
    _, whole = _plain(model, _latent(model), TIME)
    assert noise is None
    assert torch.allclose(abar, whole[:depth], atol=1e-6)
    kept = [name for name, _ in recording.unet.named_modules() if name.endswith(".attn2")]
    assert sorted(kept) == sorted(model.layers[:depth])
    assert len(list(recording.unet.modules())) < len(list(model.unet.modules()))


@torch.no_grad()
def test_a_truncated_unet_skips_its_last_value_projection(model: DiffusionModel) -> None:
    depth = 4
    recording = RecordingUNet(model.unet, model.layers, depth)
    recording.load(_latent(model), TIME, {})
    last = recording.unet.get_submodule(model.layers[depth - 1])
    ran: list[str] = []
    for name in ("to_q", "to_k", "to_v", "to_out"):
        last.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    text = _text(model)
    recording(text.hidden_BLC, text.added)
    assert ran == ["to_q", "to_k"]
    for module in last.modules():
        module._forward_hooks.clear()


@torch.no_grad()
def test_the_original_unet_is_not_modified(model: DiffusionModel) -> None:
    before, processors = dict(model.unet.named_modules()), model.unet.attn_processors
    calls: list[int] = []
    hook = model.unet.register_forward_hook(lambda *_: calls.append(1))
    recording = RecordingUNet(model.unet, model.layers, 4)
    recording.load(_latent(model), TIME, _prefix(model, _latent(model), TIME))
    calls.clear()
    text = _text(model)
    recording(text.hidden_BLC, text.added)
    hook.remove()
    assert calls == []
    after = dict(model.unet.named_modules())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert all(model.unet.attn_processors[name] is processors[name] for name in processors)


@torch.no_grad()
def test_the_copy_shares_its_weights_with_the_original(model: DiffusionModel) -> None:
    recording = RecordingUNet(model.unet, model.layers)
    own = dict(model.unet.named_parameters())
    shared = dict(recording.unet.named_parameters())
    assert own.keys() == shared.keys()
    assert all(own[name] is shared[name] for name in own)


@torch.no_grad()
def test_a_shared_time_embedding_is_computed_only_once(model: DiffusionModel, kind: str) -> None:
    recording = RecordingUNet(model.unet, model.layers)
    recording.load(_latent(model), TIME, _prefix(model, _latent(model), TIME))
    ran: list[str] = []
    for name, module in recording.unet.named_modules():
        if name.endswith("time_emb_proj"):
            module.register_forward_hook(lambda *_: ran.append("again"))
    text = _text(model)
    recording(text.hidden_BLC, text.added)
    assert bool(ran) == (kind == "sdxl"), "SDXL's time embedding depends on the caption"
    biases = [m.bias_C is None for m in recording.unet.modules() if isinstance(m, LeanResnet)]
    assert biases
    assert all(is_unset == (kind == "sdxl") for is_unset in biases)


@torch.no_grad()
def test_padding_positions_cannot_be_left_out(model: DiffusionModel) -> None:
    """The softmax runs over all text positions: without padding, attention and noise change."""
    recording, text = RecordingUNet(model.unet, model.layers), _text(model)
    recording.load(_latent(model), TIME, _prefix(model, _latent(model), TIME))
    longest = int(model.tokenize(CAPTIONS).n_B.max())
    noise, abar = recording(text.hidden_BLC, text.added)
    short_noise, short_abar = recording(text.hidden_BLC[:, :longest], text.added)
    assert abar[:, :, longest:].sum(2).min() > 0.1
    assert (abar[:, :, :longest] - short_abar).abs().max() > 0.01
    assert not torch.allclose(noise, short_noise, atol=1e-5)
