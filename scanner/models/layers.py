"""The layers of a denoiser in which the image attends to the text, whatever its family."""

import torch
from diffusers import SD3Transformer2DModel

from scanner.models.unet_model import cross_attention_layers


def attention_layers(denoiser: torch.nn.Module) -> list[str]:
    """Return the names of the attention modules in execution order; [] for other denoisers."""
    if isinstance(denoiser, SD3Transformer2DModel):
        blocks = len(denoiser.transformer_blocks)
        return [f"transformer_blocks.{number}.attn" for number in range(blocks)]
    return cross_attention_layers(denoiser) if hasattr(denoiser, "down_blocks") else []
