"""Load a model's VAE, which decodes latents to images. Scoring does not need it."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor

from scanner.models.files.fetching import fetch_weights
from scanner.models.files.model_files import ModelFiles
from scanner.models.files.names import model_error
from scanner.models.files.single_file import VAE, load_vae_of_single_file
from scanner.models.files.weights import expected_files, outline, refuse_missing
from scanner.models.parts import load_part

Decode = Callable[[Tensor], Tensor]


def load_vae(files: ModelFiles) -> Any:
    """Load a model's VAE in float32 on the CPU, from safetensors. Raises UserError without one."""
    if files.checkpoint:
        if not any(key.startswith(VAE) for key in outline(files.name, files.checkpoint)):
            raise model_error(
                files.name,
                f"it contains no VAE (no weights named {VAE}*) and cannot generate images; save "
                "the model with its VAE as a diffusers directory",
            )
        return load_vae_of_single_file(files.name, files.checkpoint, files.folder)
    folder, kind = files.folder / "vae", files.family.vae
    fetch_weights(files.name, files.folder, files.spec.revision, {"vae": kind})
    refuse_missing(files.name, folder, expected_files(files.name, folder, kind))
    return load_part(files.name, folder, kind, torch.float32)


def load_decoder(files: ModelFiles, device: str) -> Decode:
    """Return a function that decodes latents (B, C, h, w) to images (B, 3, H, W) in [0, 1].

    It computes in float32 whatever the model's dtype, since SDXL's VAE overflows in float16.
    Raises UserError for a model without a VAE.
    """
    vae = load_vae(files)
    vae = vae.to(device).eval().requires_grad_(False)

    mean, scale = latent_scale(vae)

    @torch.inference_mode()
    def decode(x_BCHW: Tensor) -> Tensor:
        latents = x_BCHW.to(device, torch.float32) / scale + mean
        if isinstance(vae, AutoencoderKLQwenImage):  # of videos, here of one frame
            image = vae.decode(latents[:, :, None], return_dict=False)[0][:, :, 0]
        else:
            image = vae.decode(latents, return_dict=False)[0]
        return (image / 2 + 0.5).clamp(0, 1)

    return decode


def latent_scale(vae: Any) -> tuple[Tensor | float, Tensor | float]:
    """Return mean and scale of a VAE: the model's latents are (VAE's latents − mean) · scale."""
    config = vae.config
    if isinstance(vae, AutoencoderKLQwenImage):
        mean, std = (
            torch.tensor(values, device=vae.device)[:, None, None]
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, 1 / std
    return getattr(config, "shift_factor", None) or 0.0, config.scaling_factor
