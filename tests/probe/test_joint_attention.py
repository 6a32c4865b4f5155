"""The recorded joint attention against a full softmax over image and text."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from scanner.models import Conditioning, DiffusionModel, load_model
from scanner.probe import AttentionRecord, watch_attention
from scanner.probe.choice import checked_joint, choose_attend
from scanner.probe.joint_attention import (
    CHUNK,
    cpu_joint_attention,
    mean_text_attention,
    plain_joint_attention,
)
from tests.random_transformers import KINDS, LAYERS, PATCH

CAPTIONS = ["a red apple on a table", "", "The Quick brown fox, twice: the quick brown fox"]
TIME = 877.0
TEXT = 77 + 256
PROJECTIONS = ("to_q", "to_k", "add_q_proj", "add_k_proj")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, random_transformers: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_transformers[kind]))


@torch.no_grad()
def _inputs(model: DiffusionModel) -> tuple[Tensor, Conditioning]:
    noise = torch.randn(len(CAPTIONS), *model.latent_shape(), generator=torch.manual_seed(1))
    return noise, model.encode(model.tokenize(CAPTIONS))


def _watched(model: DiffusionModel, attend=None, **options: bool) -> tuple[Tensor, AttentionRecord]:
    """The prediction and the record of a watched forward that keeps all maps."""
    noise, text = _inputs(model)
    with watch_attention(model.transformer, model.layers, model.map_layers, attend) as record:
        record.position_B = model.tokenize(CAPTIONS).n_B - 1
        record.keeps_whole = options.get("keeps_whole", False)
        return model.predict(noise, TIME, text), record


def _projected(model: DiffusionModel) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """The stock prediction, and by layer the stock outputs of its projections."""
    outputs: dict[str, dict[str, Tensor]] = {name: {} for name in model.layers}
    hooks = [
        model.transformer.get_submodule(f"{name}.{part}").register_forward_hook(
            lambda _, __, out, store=outputs[name], part=part: store.update({part: out.double()})
        )
        for name in model.layers
        for part in PROJECTIONS
    ]
    noise, text = _inputs(model)
    stock = model.predict(noise, TIME, text)
    for hook in hooks:
        hook.remove()
    return stock, outputs


def _normed(values: Tensor, norm: torch.nn.Module | None) -> Tensor:
    if norm is None:
        return values
    return values / (values.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight.double()


def _full_softmax(attn: torch.nn.Module, out: dict[str, Tensor]) -> Tensor:
    """The attention (H, B, P, P + L) of the image's queries, one head at a time, in float64."""
    width = out["to_q"].shape[-1] // attn.heads
    maps = []
    for head in range(attn.heads):
        q, k, q_text, k_text = (
            out[part][..., head * width : (head + 1) * width] for part in PROJECTIONS
        )
        assert q_text.shape == k_text.shape
        keys = torch.cat([_normed(k, attn.norm_k), _normed(k_text, attn.norm_added_k)], 1)
        maps.append(torch.softmax(_normed(q, attn.norm_q) @ keys.mT / width**0.5, -1))
    return torch.stack(maps)


@torch.no_grad()
def test_abar_equals_a_full_softmax_at_every_layer(model: DiffusionModel, kind: str) -> None:
    """Hooks on the stock transformer capture Q and K of image and text."""
    stock, outputs = _projected(model)
    recorded, record = _watched(model, keeps_whole=True)
    assert len(record.abar_NBL) == len(model.layers) == LAYERS[kind]
    positions = (8 // PATCH[kind]) ** 2
    for number, name in enumerate(model.layers):
        attn = model.transformer.get_submodule(name)
        assert (attn.norm_q is None) == (attn.norm_added_k is None) == (kind != "sd35-t5")
        full = _full_softmax(attn, outputs[name])
        assert full.shape == (2, len(CAPTIONS), positions, positions + TEXT)
        naive = full[..., positions:].mean((0, 2))
        abar = record.abar_NBL[number].double()
        assert torch.allclose(abar, naive, atol=1e-6), name
        share = 1 - full[..., :positions].sum(-1).mean((0, 2))
        assert torch.allclose(abar.sum(-1), share, atol=1e-5)
        assert ((share > 0.01) & (share < 0.99)).all()
        assert abar.std() > 1e-4, "a uniform map would not test anything"
        whole = full[..., positions:].mean(0)
        assert torch.allclose(record.whole[number].double(), whole, atol=1e-6)
        if number in record.maps:
            ends = model.tokenize(CAPTIONS).n_B - 1
            expected = whole[torch.arange(len(CAPTIONS)), :, ends]
            assert torch.allclose(record.maps[number].double(), expected, atol=1e-6)
    assert record.maps.keys() == {0, 1}
    assert torch.allclose(recorded, stock, atol=1e-5)


@torch.no_grad()
def test_fused_and_plain_attention_agree(model: DiffusionModel) -> None:
    fused, record = _watched(model, cpu_joint_attention)
    plain, expected = _watched(model, plain_joint_attention)
    assert torch.allclose(fused, plain, atol=1e-5)
    # Rounding grows with the layers, which here follow each other with sharp attention.
    assert torch.allclose(record.abar_NBL[:2], expected.abar_NBL[:2], atol=1e-7)
    assert torch.allclose(record.abar_NBL, expected.abar_NBL, atol=1e-5)


def test_layers_are_listed_in_the_order_in_which_they_run(model: DiffusionModel) -> None:
    ran: list[str] = []
    hooks = [
        model.transformer.get_submodule(name).register_forward_hook(
            lambda *_, name=name: ran.append(name)
        )
        for name in model.layers
    ]
    noise, text = _inputs(model)
    model.predict(noise, TIME, text)
    for hook in hooks:
        hook.remove()
    assert ran == model.layers


def test_processors_are_restored_on_exit_and_after_exceptions(model: DiffusionModel) -> None:
    """Only the joint attentions are watched, not 3.5's attention of the image alone."""
    before = model.transformer.attn_processors
    with watch_attention(model.transformer, model.layers):
        changed = [k for k, v in model.transformer.attn_processors.items() if v is not before[k]]
        assert sorted(changed) == sorted(f"{name}.processor" for name in model.layers)

    def fail() -> None:
        with watch_attention(model.transformer, model.layers):
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    after = model.transformer.attn_processors
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_near_float32(
    model: DiffusionModel, random_transformers: dict[str, Path], kind: str, dtype: str
) -> None:
    half = load_model(str(random_transformers[kind]), dtype)
    velocity, record = _watched(half, choose_attend(half.transformer, half.layers))
    exact = _watched(model)[1].abar_NBL
    assert velocity.isfinite().all()
    assert record.abar_NBL.dtype == torch.float32
    assert (record.abar_NBL.sum(-1) <= 1 + 1e-3).all()
    far = (record.abar_NBL - exact).abs().sum(-1) / exact.sum(-1)
    assert far.max() < {"float16": 0.02, "bfloat16": 0.15}[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_cpu_kernel_is_chosen_if_it_matches(dtype: torch.dtype, recwarn) -> None:
    device = torch.device("cpu")
    assert checked_joint(cpu_joint_attention, (2, 64), device, dtype) is cpu_joint_attention
    assert not recwarn.list


def test_a_kernel_that_differs_is_not_used() -> None:
    def other_base(q, k, v, bias):
        output, lse = plain_joint_attention(q, k, v, bias)
        return output, lse / torch.tensor(2.0).log()

    def fail(q, k, v, bias):
        raise RuntimeError("no kernel image")

    for attend, message in ((other_base, "log-sum-exp by"), (fail, "no kernel image")):
        with pytest.warns(UserWarning, match=f"unfused, which is slower: .*{message}"):
            chosen = checked_joint(attend, (2, 16), torch.device("cpu"), torch.float32)
        assert chosen is plain_joint_attention


def test_a_kernel_that_fails_with_masks_runs_without() -> None:
    """Models without masks keep the fused kernel."""

    def no_bias(q, k, v, bias):
        assert bias is None, "no bias here"
        return cpu_joint_attention(q, k, v, bias)

    with pytest.warns(UserWarning, match="unfused, which is slower: with a mask, .*no bias here"):
        chosen = checked_joint(no_bias, (2, 16), torch.device("cpu"), torch.float32)
    q, k, v = torch.randn((3, 2, 2, 9, 16), generator=torch.manual_seed(0))
    bias = torch.zeros((2, 9))
    bias[:, 4:] = -torch.inf
    for given in (None, bias):
        for one, other in zip(
            chosen(q, k, v, given), plain_joint_attention(q, k, v, given), strict=True
        ):
            assert torch.allclose(one, other, atol=1e-5)


def test_rows_in_chunks_give_the_same_means(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.manual_seed(0)
    q, k = (torch.randn(5, 2, n, 8, generator=generator) for n in (6, 9))
    lse = 3 + torch.randn(5, 2, 6, generator=generator)
    whole = mean_text_attention(q, k, lse)
    assert q.numel() < CHUNK
    monkeypatch.setattr("scanner.probe.joint_attention.CHUNK", 2 * 2 * 6 * 9)
    assert torch.allclose(mean_text_attention(q, k, lse), whole, atol=1e-7)
