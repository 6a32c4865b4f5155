"""Latents that a pipeline generates, each from its own fixed noise."""

from typing import Any

import torch
from torch import Tensor

from scanner.models.pipeline import denoiser_of


def generate(pipe: Any, captions: list[str] | None, steps: int = 2, **options: Any) -> Tensor:
    """Generate latents; each image starts from its own fixed noise."""
    rows = len(captions or options["prompt_embeds"]) * options.get("num_images_per_prompt", 1)
    side = denoiser_of(pipe).config.sample_size * pipe.vae_scale_factor
    return pipe(
        captions,
        num_inference_steps=steps,
        generator=[torch.Generator().manual_seed(n) for n in range(rows)],
        output_type="latent",
        height=side,
        width=side,
        **options,
    ).images
