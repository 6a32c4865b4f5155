"""Load a model's VAE, which decodes latents to images. Scoring does not need it."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from scanner.models.fetching import fetch_weights
from scanner.models.model_files import ModelFiles
from scanner.models.opening import model_error
from scanner.models.parts import load_part
from scanner.models.single_file import VAE, load_vae_of_single_file
from scanner.models.weights import expected_files, outline, refuse_missing

Decode = Callable[[Tensor], Tensor]


def load_vae(files: ModelFiles) -> AutoencoderKL:
    """Load a model's VAE in float32 on the CPU, from safetensors. Raises UserError without one."""
    if files.checkpoint:
        if not any(key.startswith(VAE) for key in outline(files.name, files.checkpoint)):
            raise model_error(
                files.name,
                f"it contains no VAE (no weights named {VAE}*) and cannot generate images; save "
                "the model with its VAE as a diffusers directory",
            )
        return load_vae_of_single_file(files.name, files.checkpoint, files.folder)
    folder = files.folder / "vae"
    fetch_weights(files.name, files.folder, files.spec.revision, {"vae": AutoencoderKL})
    refuse_missing(files.name, folder, expected_files(files.name, folder, AutoencoderKL))
    return load_part(files.name, folder, AutoencoderKL, torch.float32)


def load_decoder(files: ModelFiles, device: str) -> Decode:
    """Return a function that decodes latents (B, C, h, w) to images (B, 3, H, W) in [0, 1].

    It computes in float32 whatever the model's dtype, since SDXL's VAE overflows in float16.
    Raises UserError for a model without a VAE.
    """
    vae = load_vae(files)
    vae = vae.to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def decode(x_BCHW: Tensor) -> Tensor:
        latents = x_BCHW.to(device, torch.float32) / vae.config.scaling_factor
        if vae.config.shift_factor:
            latents = latents + vae.config.shift_factor
        return (vae.decode(latents, return_dict=False)[0] / 2 + 0.5).clamp(0, 1)

    return decode
