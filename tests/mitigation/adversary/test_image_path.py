"""Errors along an image, and their gradients, compared with plain forwards of the denoiser."""

from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from scanner.mitigation import mitigate
from scanner.mitigation.adversary.image_path import FOLLOWED, STEPS, ImagePath, Rows
from scanner.mitigation.adversary.search import Adversary
from scanner.models import Conditioning
from scanner.models.pipeline import denoiser_of
from tests.mitigation.adversary.conftest import CAPTIONS, GUIDANCE, MakeAdversary

KINDS = ("sd1", "sd2", "sdxl", "sd3", "sd3-t5")


def path_and_rows(adversary: Adversary) -> tuple[ImagePath, Rows]:
    """Two captions with latents and noises."""
    shape = (len(CAPTIONS), *adversary.latent_shape)
    random = torch.Generator().manual_seed(1)
    x, noise = (torch.randn(shape, generator=random) for _ in range(2))
    path = ImagePath(adversary.pipe, adversary.generate, adversary.model.noise_process, GUIDANCE)
    hidden = torch.cat([adversary._hidden(caption) for caption in CAPTIONS])
    offset = 0.1 * torch.randn(hidden.shape, generator=random)
    return path, Rows(CAPTIONS, x, noise, offset)


@torch.no_grad()
def plain_errors(adversary: Adversary, rows: Rows) -> Tensor:
    """The same, by a loop over the steps."""
    model, process = adversary.model, adversary.model.noise_process
    process.timesteps(STEPS)
    times = [float(time) for time in process.scheduler.timesteps][:FOLLOWED]
    text = model.encode(model.tokenize(list(rows.captions)))
    text = Conditioning(text.hidden_BLC + rows.offset_NLC, text.added)
    errors = []
    for number, time in enumerate(times):
        x, noise = rows.x_NChw, rows.noise_NChw
        latents = process.add_noise(x, noise, time) if number else noise
        if process.kind == "ddpm":
            alpha = float(process.scheduler.alphas_cumprod[int(time)])
            target = (latents - alpha**0.5 * x) / (1 - alpha) ** 0.5
        else:
            target = (latents - x) / (time / process.levels)
        errors.append((model.predict(latents, time, text) - target).square().flatten(1).sum(1))
    return torch.stack(errors, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_errors_equal_those_of_plain_forwards(kind: str, make_adversary: MakeAdversary) -> None:
    adversary = make_adversary(kind)
    path, rows = path_and_rows(adversary)
    torch.testing.assert_close(
        path.errors(rows), plain_errors(adversary, rows), rtol=1e-3, atol=1e-2
    )


@pytest.mark.parametrize("kind", ["sd2", "sd3"])
def test_gradients_equal_finite_differences(kind: str, make_adversary: MakeAdversary) -> None:
    path, rows = path_and_rows(make_adversary(kind))
    weight = torch.full((len(CAPTIONS), FOLLOWED), 0.25)
    errors, gradient = path.gradients(rows, weight)
    torch.testing.assert_close(errors, path.errors(rows))
    assert rows.offset_NLC is not None
    direction = gradient / gradient.flatten(1).norm(dim=1)[:, None, None]
    around = [
        (path.errors(Rows(CAPTIONS, rows.x_NChw, rows.noise_NChw, offset)) * weight).sum(1)
        for offset in (rows.offset_NLC + 0.001 * direction, rows.offset_NLC - 0.001 * direction)
    ]
    expected = (gradient * direction).flatten(1).sum(1)
    torch.testing.assert_close((around[0] - around[1]) / 0.002, expected, rtol=0.05, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ren", "guard", "sail", "embedding", "padding"])
def test_gradients_pass_through_mitigations(method: str, make_adversary: MakeAdversary) -> None:
    @contextmanager
    def mitigated(pipe: Any) -> Any:
        with mitigate(pipe, method=method):
            yield

    def generate(pipe: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with mitigated(pipe):
                return pipe(*args, **kwargs)

        return call

    plain_path, rows = path_and_rows(make_adversary("sd1"))
    path, _ = path_and_rows(make_adversary("sd1", generate))
    weight = torch.ones(len(CAPTIONS), FOLLOWED)
    errors, gradient = path.gradients(rows, weight)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    if method != "sail":  # which only moves the initial latents, and the error is of given ones
        assert not torch.equal(errors, plain_path.errors(rows))
    denoiser = denoiser_of(path.pipe)
    assert "forward" not in vars(denoiser)
    assert not denoiser._forward_hooks
    assert not denoiser._forward_pre_hooks
    assert "step" not in vars(path.pipe.scheduler)
    assert "encode_prompt" not in vars(path.pipe)
    assert torch.is_grad_enabled()
