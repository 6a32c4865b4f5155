"""Encode images to a model's latents with its VAE, as it was trained on them."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKLQwenImage
from torch import Tensor

from scanner.models.decoding import latent_scale, load_vae
from scanner.models.files.model_files import ModelFiles

Encode = Callable[[Tensor], Tensor]


def load_encoder(files: ModelFiles, device: str) -> Encode:
    """Return a function that encodes images (B, 3, H, W) in [-1, 1] to latents (B, C, h, w).

    The latents are the means of the VAE's distributions, so an image has one latent. It computes in
    float32 whatever the model's dtype, since SDXL's VAE overflows in float16. Raises UserError for
    a model without a VAE.
    """
    vae = load_vae(files).to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def encode(images_BCHW: Tensor) -> Tensor:
        return encode_images(vae, images_BCHW)

    return encode


def encode_images(vae: Any, images_BCHW: Tensor) -> Tensor:
    """Return the latents (B, C, h, w) of images in [-1, 1], with a VAE in its dtype."""
    mean, scale = latent_scale(vae)
    return (_encoded(vae, images_BCHW.to(vae.device, vae.dtype)) - mean) * scale


def _encoded(vae: Any, images_BCHW: Tensor) -> Tensor:
    """Return the VAE's latents before they are normalized."""
    if isinstance(vae, AutoencoderDC):
        latents: Tensor = vae.encode(images_BCHW).latent
    elif isinstance(vae, AutoencoderKLQwenImage):  # of videos, here of one frame
        latents = vae.encode(images_BCHW[:, :, None]).latent_dist.mean[:, :, 0]
    else:
        latents = vae.encode(images_BCHW).latent_dist.mean
    return latents
