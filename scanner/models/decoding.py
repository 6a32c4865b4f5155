"""From latents to pictures: a model's VAE, which scores do without."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from scanner.errors import UserError
from scanner.models.fetching import fetch_weights, weight_files
from scanner.models.finding import ModelFiles
from scanner.models.weights_file import outline

VAE = "first_stage_model."
Decode = Callable[[Tensor], Tensor]


def load_vae(files: ModelFiles) -> AutoencoderKL:
    """A model's VAE in float32 on the CPU, from safetensors only. Raises UserError without one."""
    if files.checkpoint:
        if not any(key.startswith(VAE) for key in outline(files.name, files.checkpoint)):
            raise UserError(
                f"{files.name}: no VAE in it (no weights named {VAE}*), so there are no pictures "
                "to be had from it; save the model with its VAE as a diffusers directory"
            )
        return AutoencoderKL.from_single_file(
            str(files.checkpoint),
            config=str(files.folder),
            subfolder="vae",
            dtype=torch.float32,
            local_files_only=True,
        )
    fetch_weights(files.name, files.folder, files.revision, ("vae",))
    if not weight_files(files.folder / "vae"):
        raise UserError(f"{files.name}: no safetensors weights in vae/; pictures need them")
    return AutoencoderKL.from_pretrained(
        files.folder / "vae", use_safetensors=True, dtype=torch.float32
    )


def load_decoder(files: ModelFiles, device: str) -> Decode:
    """What turns latents (B, C, h, w) into pictures (B, 3, H, W) in [0, 1].

    It works in float32 whatever the model's precision, since SDXL's VAE overflows in float16.
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
