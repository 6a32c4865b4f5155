"""Mitigation compared with a plain computation: softmax over scaled and masked logits per head."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from scanner.errors import UserError
from scanner.mitigation import mitigate
from scanner.models.unet_model import cross_attention_layers
from scanner.probe import watch_attention
from tests.mitigation.latents import generate
from tests.mitigation.plain_attention import PlainAttention
from tests.random_pipelines import KINDS, make_random_pipeline

EQUAL = ["a red apple on a table", "a cold river in a town"]
UNEQUAL = ["a red apple on a table", "", "The Quick brown fox, twice: the quick brown fox"]


@pytest.fixture(scope="module")
def pipelines() -> dict[str, DiffusionPipeline]:
    made = {kind: make_random_pipeline(kind) for kind in KINDS}
    for pipe in made.values():
        pipe.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(params=KINDS)
def pipe(request: pytest.FixtureRequest, pipelines: dict[str, DiffusionPipeline]) -> Any:
    return pipelines[request.param]


@pytest.fixture
def sd1(pipelines: dict[str, DiffusionPipeline]) -> Any:
    return pipelines["sd1"]


def plainly(pipe: Any, processor: PlainAttention, run: Callable[[], Tensor]) -> Tensor:
    before = pipe.unet.attn_processors
    names = {f"{name}.processor" for name in cross_attention_layers(pipe.unet)}
    pipe.unet.set_attn_processor(
        {name: processor if name in names else own for name, own in before.items()}
    )
    try:
        return run()
    finally:
        pipe.unet.set_attn_processor(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("captions", "images", "guidance", "factor", "mask"),
    [
        (EQUAL, 1, 7.5, 1.5, True),
        (UNEQUAL, 2, 7.5, 1.5, True),
        (UNEQUAL, 1, 1.0, 0.5, True),
        (UNEQUAL[:1], 1, 7.5, 1.0, True),
        (UNEQUAL, 1, 3.0, 2.0, False),
    ],
)
def test_a_mitigated_generation_equals_the_plain_computation(
    pipe: Any, captions: list[str], images: int, guidance: float, factor: float, mask: bool
) -> None:
    n = [count for text in captions for count in [len(_tokens(pipe, text))] * images]

    def run() -> Tensor:
        return generate(pipe, captions, num_images_per_prompt=images, guidance_scale=guidance)

    plain = plainly(pipe, PlainAttention(n, factor, mask, guidance > 1), run)
    stock = run()
    with mitigate(pipe, "ren", bos_scale=factor, mask_padding=mask):
        mitigated = run()
    assert (mitigated - plain).abs().max() < 1e-4 * plain.abs().max()
    assert (stock - plain).abs().max() > 1e-2 * plain.abs().max(), "the edit has an effect"


def _tokens(pipe: Any, caption: str) -> list[int]:
    return pipe.tokenizer(caption)["input_ids"]


@pytest.mark.slow
def test_hooks_are_removed_and_not_installed_when_off(pipe: Any) -> None:
    def hooks() -> int:
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in pipe.unet.modules()
        )

    stock, before = generate(pipe, UNEQUAL), hooks()
    with mitigate(pipe, "ren", bos_scale=1, mask_padding=False):
        assert hooks() == before
        assert "encode_prompt" not in vars(pipe)
        assert torch.equal(generate(pipe, UNEQUAL), stock)

    def fail() -> None:
        with mitigate(pipe, "ren", threshold=1.0):
            assert hooks() > before
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert hooks() == before
    assert "encode_prompt" not in vars(pipe)
    assert torch.equal(generate(pipe, UNEQUAL), stock)


@pytest.mark.slow
def test_only_the_given_steps_and_layers_are_edited(sd1: Any) -> None:
    seen: list[list[int]] = []

    def lengths(run: Callable[[], Tensor]) -> list[list[int]]:
        """Return the number of text positions per layer, one list per forward."""
        seen.clear()
        names = cross_attention_layers(sd1.unet)
        hooks = [sd1.unet.register_forward_pre_hook(lambda *_: seen.append([]))]
        for name in names:
            part = sd1.unet.get_submodule(name).to_v
            hooks.append(
                part.register_forward_hook(lambda _, __, out: seen[-1].append(out.shape[1]))
            )
        run()
        for hook in hooks:
            hook.remove()
        return list(seen)

    with mitigate(sd1, "ren", steps=(1,), layers=(2, 5)):
        got = lengths(lambda: generate(sd1, EQUAL, steps=3))
        again = lengths(lambda: generate(sd1, EQUAL, steps=3))
    n = len(_tokens(sd1, EQUAL[0]))
    assert got[1] == [n if layer in (2, 5) else 77 for layer in range(16)]
    assert all(one == [77] * 16 for one in [got[0], *got[2:]])
    assert again == got, "every generation counts its steps from 0"


@pytest.mark.slow
def test_captions_below_the_threshold_stay_bit_identical(pipe: Any) -> None:
    stock = generate(pipe, UNEQUAL)
    with mitigate(pipe, "ren") as everything:
        whole = generate(pipe, UNEQUAL)
    assert everything.noise_norm_N is None
    with mitigate(pipe, "ren", threshold=1e9) as record:
        assert torch.equal(generate(pipe, UNEQUAL), stock)
        norms = record.noise_norm_N
    assert record.extra_forwards == 0
    expected = _norms(pipe, UNEQUAL)
    # The empty caption differs from itself only by rounding.
    assert torch.allclose(norms, expected, rtol=1e-4, atol=1e-4)

    highest = int(norms.argmax())
    between = float(norms.topk(2).values.mean())
    with mitigate(pipe, "ren", threshold=between) as record:
        mixed = generate(pipe, UNEQUAL)
    assert record.extra_forwards == 1
    assert record.flagged_N.tolist() == [n == highest for n in range(3)]
    for row in range(3):
        target = whole if row == highest else stock
        assert torch.allclose(mixed[row], target[row], atol=1e-4 * stock.abs().max())
    with mitigate(pipe, "ren", threshold=-1.0) as record:
        assert torch.allclose(generate(pipe, UNEQUAL), whole, atol=1e-4 * stock.abs().max())
    assert record.extra_forwards == 1


def _norms(pipe: Any, captions: list[str]) -> Tensor:
    """Compute ‖ε_c − ε_∅‖ at the first step, one caption at a time, from raw U-Net outputs."""
    first_step = []

    def measure(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not first_step:
            conditional, unconditional = output[0][1].double(), output[0][0].double()
            norm = (conditional - unconditional).norm()
            if pipe.scheduler.config.prediction_type == "v_prediction":
                norm = norm * pipe.scheduler.alphas_cumprod[int(args[1])].double().sqrt()
            first_step.append(norm)

    norms = []
    for row, caption in enumerate(captions):
        first_step.clear()
        hook = pipe.unet.register_forward_hook(measure, with_kwargs=True)
        size = pipe.unet.config.sample_size * pipe.vae_scale_factor
        pipe(
            caption,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(row),
            output_type="latent",
            height=size,
            width=size,
        )
        hook.remove()
        norms.append(first_step[0])
    return torch.stack(norms).float()


@pytest.mark.slow
def test_the_probe_sees_the_mitigated_attention(pipe: Any) -> None:
    stock_names = cross_attention_layers(pipe.unet)
    plain = generate(pipe, UNEQUAL, guidance_scale=1.0)
    with mitigate(pipe, "ren", bos_scale=1.5):
        mitigated = generate(pipe, UNEQUAL, guidance_scale=1.0)
        with watch_attention(pipe.unet, stock_names) as record:
            watched = generate(pipe, UNEQUAL, guidance_scale=1.0)
    assert torch.allclose(watched, mitigated, atol=1e-4 * plain.abs().max())
    for row, caption in enumerate(UNEQUAL):
        after = record.abar_NBL[0][row, len(_tokens(pipe, caption)) :]
        assert not after.any(), "padding that is hidden has no attention"


@pytest.mark.slow
def test_embeddings_need_their_token_counts(sd1: Any) -> None:
    with torch.no_grad():
        embeddings, _ = sd1.encode_prompt(UNEQUAL, "cpu", 1, False)
    counts = [len(_tokens(sd1, caption)) for caption in UNEQUAL]
    with mitigate(sd1, "ren"):
        expected = generate(sd1, UNEQUAL)
        with pytest.raises(UserError, match="token_counts"):
            generate(sd1, None, prompt_embeds=embeddings)
    empty = sd1.encode_prompt([""] * 3, "cpu", 1, False)[0]
    with mitigate(sd1, "ren", token_counts=counts):
        images = generate(sd1, None, prompt_embeds=embeddings, negative_prompt_embeds=empty)
    assert torch.allclose(images, expected, atol=1e-5 * expected.abs().max())
    with mitigate(sd1, "ren", token_counts=[3]), pytest.raises(UserError, match="one per caption"):
        generate(sd1, None, prompt_embeds=embeddings)


def test_unsupported_requests_are_refused_with_the_reason(sd1: Any) -> None:
    with pytest.raises(UserError, match="0 to 15"), mitigate(sd1, "ren", layers=(16,)):
        pass
    with mitigate(sd1, "ren", threshold=1.0), pytest.raises(UserError, match="guidance"):
        generate(sd1, EQUAL, guidance_scale=1.0)
    with mitigate(sd1, "ren", threshold=1.0), pytest.raises(UserError, match="negative"):
        generate(sd1, EQUAL, negative_prompt=["ugly"] * 2)
    fused = make_random_pipeline("sd1")
    fused.fuse_qkv_projections()
    with pytest.raises(UserError, match="fused"), mitigate(fused, "ren"):
        pass
