"""Stable Diffusion 1 and 2: one CLIP text encoder and a U-Net with cross-attention."""

from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from scanner.models.conditioning import Conditioning
from scanner.models.noise_process import Ddpm
from scanner.models.tokens import Tokens
from scanner.models.unet_model import UNetModel


class StableDiffusion(UNetModel):
    """Layers as in the papers: 0 to 3 are the early layers, 3 is the entropy layer."""

    family = "stable-diffusion"
    parts: ClassVar[dict[str, Any]] = {
        "unet": UNet2DConditionModel,
        "text_encoder": CLIPTextModel,
    }
    entropy_layer = 3
    early_layers = (0, 1, 2, 3)

    def __init__(
        self,
        unet: torch.nn.Module,
        text_encoder: torch.nn.Module,
        tokenizer: Any,
        noise_process: Ddpm,
        weights: str,
        pixels_per_latent: int = 8,
    ) -> None:
        super().__init__(unet, tokenizer, noise_process, weights, pixels_per_latent)
        self.text_encoder = text_encoder.eval().requires_grad_(False)

    @property
    def anisotropy_weights(self) -> tuple[float, float]:
        """Weights (norm, cosine) published for Stable Diffusion 1 and 2."""
        return (1.0, 0.1) if self.is_version_2 else (1.0, 2.0)

    @property
    def anisotropy_of_velocity(self) -> bool:
        """As in the released code, which converts the predictions of Stable Diffusion 2 to ε for
        the norm only."""
        return self.is_version_2 and self.noise_process.predicts_v

    @property
    def is_version_2(self) -> bool:
        """Whether the U-Net reads the text encoder of Stable Diffusion 2."""
        return bool(self.unet.config.cross_attention_dim == 1024)

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        return Conditioning(self.text_encoder(tokens.ids_BL.to(self.device))[0].to(self.dtype))
