"""Mitigation methods compared with plain loops over one image at a time."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from scanner.errors import UsageError, UserError
from scanner.mitigation import mitigate
from scanner.mitigation.methods import METHODS, settings_of
from scanner.mitigation.methods.guard import tokens_that_stand_out
from scanner.models.layers import attention_layers
from scanner.models.pipeline import denoiser_of
from tests.mitigation import plain_methods as plain
from tests.mitigation.latents import generate
from tests.random_pipelines import make_random_pipeline
from tests.random_transformers import make_random_transformer

CAPTIONS = ["a red apple on a table", "The Quick brown fox, twice: the quick brown fox"]
STEPS = 4


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    made = {kind: make_random_pipeline(kind) for kind in ("sd1", "sd2", "sdxl")}
    made["sd1"].scheduler = DDIMScheduler.from_config(made["sd1"].scheduler.config)
    made |= {"sd3": make_random_transformer("sd3")}
    for pipe in made.values():
        pipe.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(params=["sd1", "sd2", "sd3"])
def pipe(request: pytest.FixtureRequest, pipelines: dict[str, Any]) -> Any:
    return pipelines[request.param]


@pytest.fixture
def sd1(pipelines: dict[str, Any]) -> Any:
    return pipelines["sd1"]


def _noise(pipe: Any, row: int) -> Tensor:
    config = denoiser_of(pipe).config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(row))


def _ratio(pipe: Any) -> float:
    return (_noise(pipe, 0).numel() / (4 * 64 * 64)) ** 0.5


def _mitigated(pipe: Any, method: str, **settings: float) -> Tensor:
    with torch.inference_mode(), mitigate(pipe, method=method, **settings):
        return generate(pipe, CAPTIONS, steps=STEPS, guidance_scale=plain.GUIDANCE)


def _close(left: Tensor, right: Tensor, tolerance: float = 1e-3) -> bool:
    return bool((left - right).abs().max() < tolerance * right.abs().max())


@pytest.mark.slow
def test_sharpness_equals_the_plain_loop(pipe: Any) -> None:
    got = _mitigated(pipe, "sharpness", radius=20.0, unguided=0.5)
    for row, caption in enumerate(CAPTIONS):
        image = plain.Image(pipe, caption, STEPS)
        x = plain.sharpness(image, _noise(pipe, row), 20.0 * _ratio(pipe), 0.7, 2)

        def guide(image: Any, number: int, x: Any, u: Tensor, c: Tensor, t: Any) -> Tensor:
            return u if number < 2 else u + plain.GUIDANCE * (c - u)

        assert _close(got[row], plain.sample(image, x, guide)[0])


@pytest.mark.slow
def test_sail_equals_the_plain_loop(pipe: Any) -> None:
    # The first caption's loss is at once below this target, the second's is not.
    image = [plain.Image(pipe, caption, STEPS) for caption in CAPTIONS]
    losses = [_sail_loss(one, _noise(pipe, row)) for row, one in enumerate(image)]
    target = sum(losses) / 2
    got = _mitigated(pipe, "sail", target=target / _ratio(pipe), iterations=3)
    for row, one in enumerate(image):
        x = plain.sail(one, _noise(pipe, row), target, 0.05, 0.05, 3)
        assert torch.equal(x, _noise(pipe, row)) == (losses[row] < target)
        assert _close(got[row], plain.sample(one, x, plain.plainly_guided)[0])


def _sail_loss(image: plain.Image, x: Tensor) -> float:
    with torch.no_grad():
        here = image.difference(x, image.first)
        there = image.difference(x + here / here.norm(), image.first)
        return float(there.norm() + 0.05 * x.norm())


@pytest.mark.slow
def test_the_optimized_embedding_equals_the_plain_loop(pipe: Any) -> None:
    image = [plain.Image(pipe, caption, STEPS) for caption in CAPTIONS]
    with torch.no_grad():
        norms = [one.difference(_noise(pipe, n), one.first).norm() for n, one in enumerate(image)]
    target = float(sum(norms)) / 2
    got = _mitigated(pipe, "embedding", target=target / _ratio(pipe), iterations=3)
    for row, one in enumerate(image):
        text = plain.embedding(one, _noise(pipe, row), target, 0.05, 3)
        assert torch.equal(text, one.text) == bool(norms[row] < target)
        x = plain.sample(one, _noise(pipe, row), plain.plainly_guided, text)
        stock = plain.sample(one, _noise(pipe, row), plain.plainly_guided)
        # Adam steps by the sign of its first gradient, of which rounding turns the smallest.
        assert _close(got[row], x[0], 2e-2)
        assert _close(stock, x, 0.1) == bool(norms[row] < target)


@pytest.mark.slow
@pytest.mark.parametrize("before", [0.0, 1.0])
def test_guidance_waits_for_the_basin_to_end(pipe: Any, before: float) -> None:
    got = _mitigated(pipe, "basin", before=before)
    for row, caption in enumerate(CAPTIONS):
        image, guide = plain.Image(pipe, caption, STEPS), plain.Basin(before)
        assert _close(got[row], plain.sample(image, _noise(pipe, row), guide)[0])


@pytest.mark.slow
def test_guidance_returns_after_the_first_local_minimum(sd1: Any) -> None:
    guides = []
    for row, caption in enumerate(CAPTIONS):
        guides.append(plain.Basin(0.0))
        plain.sample(plain.Image(sd1, caption, 12), _noise(sd1, row), guides[-1])
    assert any(guide.left for guide in guides), "otherwise the test above tests nothing"


class _PlainGuard:
    """GUARD's attenuated attention: whole softmaxes, one head at a time."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any
    ) -> Tensor:
        heads = []
        q, k, v = (
            part(x[0]).unflatten(-1, (attn.heads, -1)).transpose(0, 1)
            for part, x in (
                (attn.to_q, hidden_states),
                (attn.to_k, encoder_hidden_states),
                (attn.to_v, encoder_hidden_states),
            )
        )
        for head in range(attn.heads):
            logits = q[head] @ k[head].T / q.shape[-1] ** 0.5
            largest = logits.max(0).values
            rest = largest[1:]
            spikes = (largest - rest.mean()) / (rest.std() + 1e-6) > 0.1
            spikes[0] = False
            logits[:, spikes] *= 0.3
            heads.append(logits.softmax(-1) @ v[head])
        return attn.to_out[0](torch.stack(heads, 1).flatten(1))[None]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_guard_equals_whole_softmaxes(kind: str, pipelines: dict[str, Any]) -> None:
    pipe = pipelines[kind]
    got = _mitigated(pipe, "guard")
    early = [n for n in attention_layers(pipe.unet) if not n.startswith("up_blocks")]
    assert len(early) == 7

    def guide(image: Any, number: int, x: Tensor, u: Tensor, c: Tensor, t: Any) -> Tensor:
        attns = [pipe.unet.get_submodule(name) for name in early]
        before = [attn.processor for attn in attns]
        for attn in attns:
            attn.set_processor(_PlainGuard())
        attenuated = image.predict(x, t, image.text)
        for attn, processor in zip(attns, before, strict=True):
            attn.set_processor(processor)
        return u + plain.GUIDANCE * (attenuated - u) - 2.0 * (c - u)

    for row, caption in enumerate(CAPTIONS):
        image = plain.Image(pipe, caption, STEPS)
        assert _close(got[row], plain.sample(image, _noise(pipe, row), guide)[0])


def test_tokens_that_stand_out_never_include_bos() -> None:
    q = torch.ones(1, 1, 3, 2)
    k = torch.tensor([9.0, 0.0, 0.0, 0.0, 1.0]).view(1, 1, 5, 1).expand(-1, -1, -1, 2)
    assert tokens_that_stand_out(q, k, 0.1).flatten().tolist() == [False] * 4 + [True]


@pytest.mark.slow
def test_neutral_padding_equals_other_embeddings_and_a_mask(sd1: Any) -> None:
    got = _mitigated(sd1, "padding")
    pad_token = sd1.tokenizer.pad_token
    for row, caption in enumerate(CAPTIONS):
        image = plain.Image(sd1, caption, STEPS)
        sd1.tokenizer.pad_token = "!"
        image.text = sd1.encode_prompt(caption, "cpu", 1, False)[0].detach()
        sd1.tokenizer.pad_token = pad_token
        kept = torch.ones(1, 77, dtype=torch.bool)
        kept[0, len(sd1.tokenizer(caption)["input_ids"]) - 1] = False

        def guide(
            image: Any, n: int, x: Tensor, u: Tensor, c: Tensor, t: Any, kept: Tensor = kept
        ) -> Tensor:
            masked = sd1.unet(x, t, image.text, encoder_attention_mask=kept).sample
            return u + plain.GUIDANCE * (masked - u)

        assert _close(got[row], plain.sample(image, _noise(sd1, row), guide)[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_method_restores_the_pipeline_and_spares_others(method: str, sd1: Any) -> None:
    def state() -> tuple[Any, ...]:
        processors = {name: id(one) for name, one in sd1.unet.attn_processors.items()}
        own = [name for part in (sd1, sd1.unet, sd1.scheduler) for name in vars(part)]
        return processors, own, sd1.tokenizer.pad_token

    few = {"iterations": 2} if "iterations" in settings_of(method) else {}
    before, stock = state(), generate(sd1, CAPTIONS, steps=STEPS)
    with mitigate(sd1, method=method, threshold=1e9) as record:
        assert torch.equal(generate(sd1, CAPTIONS, steps=STEPS), stock)
    assert record.extra_forwards == 0
    norms = record.noise_norm_N
    with mitigate(sd1, method=method, threshold=float(norms.mean()), **few) as record:
        mixed = generate(sd1, CAPTIONS, steps=STEPS)
    assert int(record.flagged_N.sum()) == 1
    with mitigate(sd1, method=method, **few):
        whole = generate(sd1, CAPTIONS, steps=STEPS)
    for row, flagged in enumerate(record.flagged_N.tolist()):
        assert _close(mixed[row], (whole if flagged else stock)[row], 2e-2)
    assert state() == before
    assert torch.equal(generate(sd1, CAPTIONS, steps=STEPS), stock)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_images_do_not_depend_on_their_batch(method: str, pipelines: dict[str, Any]) -> None:
    pipe = pipelines["sdxl"]
    few = {"iterations": 2} if "iterations" in settings_of(method) else {}
    options = {"steps": 3, "guidance_scale": plain.GUIDANCE}
    with mitigate(pipe, method=method, **few):
        together = generate(pipe, CAPTIONS, **options)
        several = generate(pipe, CAPTIONS[:1], num_images_per_prompt=2, **options)
    assert _close(several[0], together[0], 2e-2)


def test_settings_of_methods_are_numbers() -> None:
    for name in METHODS:
        assert all(isinstance(value, int | float) for value in settings_of(name).values())


def test_wrong_methods_settings_and_calls_are_refused(sd1: Any, pipelines: Any) -> None:
    def enter(**options: Any) -> None:
        with mitigate(sd1, **options):
            pass

    for options, words in (
        ({"method": "none"}, "no method 'none'; choose one of ren, guard"),
        ({"method": "guard", "bos_scale": 2.0}, "bos_scale is a setting of method 'ren'"),
        ({"method": "guard", "radius": 1.0}, "not a setting of 'guard', which has attenuation"),
        ({"method": "sail", "target": float("nan")}, "must be a number"),
        ({"method": "sail", "iterations": 0.5}, "whole number"),
        ({"method": "sharpness", "radius": -1.0}, "must be positive"),
        ({"method": "ren", "radius": 1.0}, "'radius' is not a setting of 'ren'"),
    ):
        with pytest.raises(UsageError, match=words):
            enter(**options)
    with mitigate(sd1, method="basin"), pytest.raises(UserError, match="guidance_scale above 1"):
        generate(sd1, CAPTIONS, guidance_scale=1.0)
    with mitigate(sd1, method="basin"), pytest.raises(UserError, match="guidance_rescale"):
        generate(sd1, CAPTIONS, guidance_rescale=0.7)
    with (
        pytest.raises(UserError, match="needs a U-Net"),
        mitigate(pipelines["sd3"], method="padding"),
    ):
        pass
