"""Images are encoded to the latents that a family's pipelines encode and decode."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ChromaImg2ImgPipeline,
    DiffusionPipeline,
    FluxImg2ImgPipeline,
    QwenImageImg2ImgPipeline,
    ZImageImg2ImgPipeline,
)
from torch import Tensor

from scanner.models import find_model, load_decoder
from scanner.models.encoding import load_encoder
from tests.random_families import FAMILIES

# Further families have no pipeline that takes an image.
OF_IMAGES: dict[str, Any] = {
    "flux": FluxImg2ImgPipeline,
    "chroma": ChromaImg2ImgPipeline,
    "qwen-image": QwenImageImg2ImgPipeline,
    "z-image": ZImageImg2ImgPipeline,
}


def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("kind", FAMILIES)
@torch.inference_mode()
def test_decoding_undoes_the_scale_of_encoding(kind: str, random_families: dict[str, Path]) -> None:
    """test_families compares decoding with each pipeline's."""
    files = find_model(str(random_families[kind]))
    latents = load_encoder(files, "cpu")(images())
    vae = DiffusionPipeline.from_pretrained(random_families[kind]).vae
    frames = images()[:, :, None] if kind == "qwen-image" else images()
    encoded = vae.encode(frames)
    own = encoded.latent if kind == "sana" else encoded.latent_dist.mode()
    expected = (vae.decode(own).sample / 2 + 0.5).clamp(0, 1)
    expected = expected[:, :, 0] if kind == "qwen-image" else expected
    found = load_decoder(files, "cpu")(latents)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", OF_IMAGES)
@torch.inference_mode()
def test_latents_are_those_of_image_pipelines(
    kind: str, random_families: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = DiffusionPipeline.from_pretrained(random_families[kind]).components
    pipe = OF_IMAGES[kind](**{name: part for name, part in parts.items() if part is not None})
    # Their latents are drawn; scores use the mean.
    distribution = "diffusers.models.autoencoders.vae.DiagonalGaussianDistribution"
    monkeypatch.setattr(f"{distribution}.sample", lambda self, generator=None: self.mode())
    frames = images()[:, :, None] if kind == "qwen-image" else images()
    if hasattr(pipe, "_encode_vae_image"):
        expected = pipe._encode_vae_image(frames, torch.manual_seed(0))
    else:
        monkeypatch.setattr(type(pipe.scheduler), "scale_noise", lambda self, x, time, noise: x)
        shape = (2, 16, 64, 64, torch.float32, "cpu", torch.manual_seed(0))
        expected = pipe.prepare_latents(images(), torch.tensor([0.0]), *shape)
    found = load_encoder(find_model(str(random_families[kind])), "cpu")(images())
    assert torch.allclose(found, expected.reshape(found.shape), atol=1e-5)
