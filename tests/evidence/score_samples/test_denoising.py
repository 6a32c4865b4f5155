"""Denoising errors equal plain forwards, with one noise per index, whatever the batch."""

from pathlib import Path

import pytest
import torch

from scanner.evidence.score_samples.denoising import SampleDenoiser
from scanner.models import find_model, load_model
from scanner.models.encoding import load_encoder
from tests.random_families import FAMILIES

KINDS = ("sd1", "sdxl", "sd3")
CAPTIONS = ["a red fox", "an old boat"]


def denoiser(folder: Path, batch_size: int) -> SampleDenoiser:
    files = find_model(str(folder))
    model = load_model(files, device="cpu")
    return SampleDenoiser(model, load_encoder(files, "cpu"), [100, 700], 2, batch_size)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_errors_are_those_of_plain_forwards(kind: str, random_folders: dict[str, Path]) -> None:
    """Written out by the formulas of the papers, from the scheduler's own numbers."""
    measured = denoiser(random_folders[kind], 3)
    model, vae = measured.model, measured.encode
    images = torch.rand(2, 3, *measured.size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x = measured.latents(images)
    assert torch.allclose(x, vae(images), atol=1e-5)
    pairs = [(0, 1), (1, 0), (1, 1)]
    errors = measured.errors(x, CAPTIONS, pairs)
    for place, (image, caption) in enumerate(pairs):
        texts = [model.encode_empty(measured.latent_shape)]
        texts.append(model.encode(model.tokenize([CAPTIONS[caption]]), measured.latent_shape))
        for s, level in enumerate((100, 700)):
            for k in range(2):
                generator = torch.Generator().manual_seed(k)
                noise = torch.randn((1, *x.shape[1:]), generator=generator)
                if kind == "sd3":
                    share = level / 1000
                    noised, target = (1 - share) * x[[image]] + share * noise, noise - x[[image]]
                else:
                    alpha = model.scheduler.alphas_cumprod[level]
                    noised, target = alpha.sqrt() * x[[image]] + (1 - alpha).sqrt() * noise, noise
                without, with_caption = (
                    (target - model.predict(noised, level, text)).square().sum() for text in texts
                )
                got = errors.unconditional_PSK[place, s, k], errors.discrepancy_PSK[place, s, k]
                assert torch.allclose(got[0], without, rtol=1e-4)
                assert torch.allclose(got[1], without - with_caption, atol=1e-3 * float(without))


@pytest.mark.slow
def test_batches_change_no_score(random_folders: dict[str, Path]) -> None:
    one, many = (denoiser(random_folders["sd1"], size) for size in (1, 64))
    x = torch.randn(3, *one.latent_shape, generator=torch.Generator().manual_seed(0))
    pairs = [(0, 0), (1, 1), (2, 0)]
    first, second = (each.errors(x, CAPTIONS, pairs) for each in (one, many))
    assert torch.allclose(first.unconditional_PSK, second.unconditional_PSK, rtol=1e-4)
    assert torch.allclose(first.discrepancy_PSK, second.discrepancy_PSK, atol=1e-2)


@pytest.mark.parametrize("kind", FAMILIES)
@torch.inference_mode()
def test_further_families_are_scored(kind: str, random_families: dict[str, Path]) -> None:
    """Latents and noise of one shape, text of one length, and the target of the prediction."""
    files = find_model(str(random_families[kind]))
    model = load_model(files, device="cpu")
    encode = load_encoder(files, "cpu")
    measured = SampleDenoiser(model, encode, [300], 1, 3, 64, 64)
    x = measured.latents(torch.rand(1, 3, 64, 64, generator=torch.manual_seed(1)) * 2 - 1)
    assert x.shape == (1, *measured.latent_shape)
    errors = measured.errors(x, CAPTIONS, [(0, 0), (0, 1)])
    noise = measured.noise_KCHW
    noised = model.noise_process.add_noise(x, noise, 300)
    target = noise if model.noise_process.kind == "ddpm" else noise - x
    for place, caption in enumerate(CAPTIONS):
        tokens = model.trim(model.tokenize([caption]))
        texts = [model.encode_empty(x.shape[1:]), model.encode(tokens, x.shape[1:])]
        without, with_caption = (
            float((target - model.predict(noised, 300, text)).square().sum()) for text in texts
        )
        assert float(errors.unconditional_PSK[place]) == pytest.approx(without, rel=1e-4)
        found = float(errors.discrepancy_PSK[place])
        assert found == pytest.approx(without - with_caption, abs=1e-3 * without)
