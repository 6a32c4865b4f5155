from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

from scanner.errors import UserError
from scanner.models import Conditioning, DiffusionModel, load_model
from scanner.probe import watch_attention
from scanner.probe.attention import RecordingAttnProcessor
from scanner.probe.attention_record import AttentionRecord
from tests.random_pipelines import KINDS, LAYERS

CAPTIONS = ["a red apple on a table", "", "The Quick brown fox, twice: the quick brown fox"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_models: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_models[kind]))


def _inputs(model: DiffusionModel) -> tuple[torch.Tensor, Conditioning]:
    with torch.no_grad():
        text = model.encode(model.tokenize(CAPTIONS))
    noise = torch.randn(len(CAPTIONS), *model.latent_shape(), generator=torch.manual_seed(1))
    return noise, text


def test_abar_equals_a_naive_softmax_at_every_layer(model: DiffusionModel, kind: str) -> None:
    """Hooks on the stock U-Net capture Q and K; the map is computed one head at a time."""
    noise, text = _inputs(model)
    queries, keys = {}, {}
    hooks = []
    for name in model.layers:
        attn = model.unet.get_submodule(name)
        for store, part in ((queries, attn.to_q), (keys, attn.to_k)):
            hooks.append(
                part.register_forward_hook(
                    lambda _, __, out, store=store, name=name: store.update({name: out})
                )
            )
    stock = model.predict(noise, 981, text)
    for hook in hooks:
        hook.remove()

    with watch_attention(model.unet, model.layers) as record:
        recorded = model.predict(noise, 981, text)

    assert len(record.abar_NBL) == len(model.layers) == LAYERS[kind]
    for name, abar in zip(model.layers, record.abar_NBL, strict=True):
        heads = model.unet.get_submodule(name).heads
        q, k = queries[name].double(), keys[name].double()
        width = q.shape[-1] // heads
        maps = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            maps.append(torch.softmax(q[..., part] @ k[..., part].mT / width**0.5, dim=-1))
        naive = torch.stack(maps).mean((0, 2))
        assert abar.shape == (len(CAPTIONS), 77)
        assert torch.allclose(abar.double(), naive, atol=1e-5), name
        assert abar.std() > 1e-4, "a uniform map would not test anything"
    assert torch.allclose(recorded, stock, atol=1e-5)


def test_layers_are_listed_in_the_order_in_which_they_run(model: DiffusionModel) -> None:
    ran: list[str] = []
    hooks = [
        model.unet.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
        for name in model.layers
    ]
    model.predict(*_inputs(model)[:1], 981, _inputs(model)[1])
    for hook in hooks:
        hook.remove()
    assert ran == model.layers


def test_processors_are_restored_on_exit_and_after_exceptions(
    model: DiffusionModel,
) -> None:
    before = model.unet.attn_processors
    with watch_attention(model.unet, model.layers):
        changed = [k for k, v in model.unet.attn_processors.items() if v is not before[k]]
        assert sorted(changed) == sorted(f"{name}.processor" for name in model.layers)

    def fail() -> None:
        with watch_attention(model.unet, model.layers):
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    after = model.unet.attn_processors
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_attention_that_does_more_than_softmax_is_refused(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = model.unet.get_submodule(model.layers[2])
    monkeypatch.setattr(attention, "residual_connection", True)
    with (
        pytest.raises(UserError, match="residual"),
        watch_attention(model.unet, model.layers),
    ):
        pass


def test_map_layers_keep_the_map_of_one_text_position(model: DiffusionModel, kind: str) -> None:
    tokens = model.tokenize(CAPTIONS)
    with watch_attention(model.unet, model.layers, map_layers=(0, 1)) as record:
        record.position_B = tokens.n_B - 1
        model.predict(_inputs(model)[0], 981, _inputs(model)[1])
    positions = 16 if kind == "sdxl" else 64
    assert [tuple(m.shape) for m in record.maps.values()] == [(3, positions)] * 2
    for number, kept in record.maps.items():
        end = record.abar_NBL[number][torch.arange(3), tokens.n_B - 1]
        assert torch.allclose(kept.mean(1), end, atol=1e-6)


def _inflated(upcast: bool) -> tuple[Attention, torch.Tensor, torch.Tensor]:
    """A float16 attention whose queries and keys have entries of about 600, and its inputs."""
    torch.manual_seed(0)
    attn = Attention(32, cross_attention_dim=32, heads=2, dim_head=32, upcast_attention=upcast)
    hidden, text = torch.randn(2, 16, 32), torch.randn(2, 77, 32)
    with torch.no_grad():
        for layer, x in ((attn.to_q, hidden), (attn.to_k, text)):
            layer.weight *= 600 / layer(x).std()
    return attn.half().requires_grad_(False), hidden.half(), text.half()


@pytest.mark.parametrize("upcast", [False, True])
def test_large_queries_and_keys_stay_finite_in_float16(upcast: bool) -> None:
    attn, hidden, text = _inflated(upcast)
    q, k = attn.to_q(hidden), attn.to_k(text)
    assert q.isfinite().all()
    assert (q @ k.mT).isinf().any(), "logits within the range of float16 would not test anything"
    attn.set_processor(AttnProcessor() if upcast else AttnProcessor2_0())
    stock = attn(hidden, encoder_hidden_states=text)

    record = AttentionRecord(1)
    attn.set_processor(RecordingAttnProcessor(record, 0))
    recorded = attn(hidden, encoder_hidden_states=text)

    assert record.abar_NBL.isfinite().all()
    assert torch.allclose(record.abar_NBL.sum(-1), torch.ones(1, 2), atol=1e-5)
    assert recorded.isfinite().all()
    assert torch.allclose(recorded, stock, atol=2e-3)
    if upcast:
        scores = attn.get_attention_scores(attn.head_to_batch_dim(q), attn.head_to_batch_dim(k))
        abar = scores.float().unflatten(0, (2, 2)).mean((1, 2))
        assert torch.allclose(record.abar_NBL[0], abar, atol=1e-4)
