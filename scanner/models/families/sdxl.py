"""Stable Diffusion XL: two text encoders, and a U-Net also conditioned on pooled text and sizes."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from scanner.models.conditioning import Conditioning
from scanner.models.noise_process import Ddpm
from scanner.models.tokens import Tokens, tokenize
from scanner.models.unet_model import UNetModel


class StableDiffusionXL(UNetModel):
    """Encode text as diffusers' StableDiffusionXLPipeline does.

    The conditioning is the concatenation of both encoders' penultimate hidden states, the second
    encoder's projected pooled output, and size ids (original size, crop, target size) for an
    uncropped image of the scored size. Token counts, spans and triggers come from the first
    tokenizer. With ``force_zeros_for_empty_prompt``, ε_∅ is conditioned on zeros rather than on the
    empty caption.

    Choice of layers: in Stable Diffusion 1, the entropy layer 3 is the last attention of the second
    down block, at half the latent resolution, and the early layers are all up to it. SDXL's first
    down block has no attention; its second works at half the latent resolution and has two
    attentions with two transformer blocks each: layers 0 to 3 of 70. The early layers are therefore
    the cross-attentions of the first down block that has any, and the entropy layer is the last of
    them; both have the same numbers as in Stable Diffusion 1. Later layers run at a quarter of the
    resolution (4 to 63) or in the up blocks (64 to 69). Maps are kept from the first two layers, as
    in Stable Diffusion 1.
    """

    family = "stable-diffusion-xl"
    parts: ClassVar[dict[str, Any]] = {
        "unet": UNet2DConditionModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    tokenizers: ClassVar[dict[str, str]] = {
        "tokenizer": "text_encoder",
        "tokenizer_2": "text_encoder_2",
    }
    settings: ClassVar[dict[str, Any]] = {"force_zeros_for_empty_prompt": True}

    def __init__(
        self,
        unet: torch.nn.Module,
        text_encoder: torch.nn.Module,
        text_encoder_2: torch.nn.Module,
        tokenizer: Any,
        tokenizer_2: Any,
        noise_process: Ddpm,
        weights: str,
        force_zeros_for_empty_prompt: bool = True,
        pixels_per_latent: int = 8,
    ) -> None:
        super().__init__(unet, tokenizer, noise_process, weights, pixels_per_latent)
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.text_encoder_2 = text_encoder_2.eval().requires_grad_(False)
        self.tokenizer_2 = tokenizer_2
        self.force_zeros_for_empty_prompt = force_zeros_for_empty_prompt
        first_block = self.layers[0].split(".attentions.")[0]
        early = [n for n, name in enumerate(self.layers) if name.startswith(f"{first_block}.")]
        self.early_layers = tuple(early)
        self.entropy_layer = early[-1]
        self.map_layers = tuple(early[:2])

    @property
    def anisotropy_weights(self) -> tuple[float, float]:
        """Weights of Stable Diffusion 1, as none are published for SDXL; both parts are columns."""
        return (1.0, 2.0)

    def tokenize(self, captions: list[str]) -> Tokens:
        """Tokenize with both tokenizers: the second uses another padding token."""
        first = super().tokenize(captions)
        return replace(first, more_ids=(tokenize(self.tokenizer_2, captions).ids_BL,))

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        assert tokens.more_ids, "tokens of another family"
        first = self.text_encoder(tokens.ids_BL.to(self.device), output_hidden_states=True)
        second = self.text_encoder_2(tokens.more_ids[0].to(self.device), output_hidden_states=True)
        hidden_BLC = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        added = {
            "text_embeds": second.text_embeds.to(self.dtype),
            "time_ids": self._size_ids(latent_shape).expand(len(hidden_BLC), -1),
        }
        return Conditioning(hidden_BLC.to(self.dtype), added)

    def encode_empty(self, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        text = super().encode_empty(latent_shape)
        if not self.force_zeros_for_empty_prompt:
            return text
        zeros = {**text.added, "text_embeds": torch.zeros_like(text.added["text_embeds"])}
        return Conditioning(torch.zeros_like(text.hidden_BLC), zeros)

    def _size_ids(self, latent_shape: tuple[int, ...] | None) -> Tensor:
        """Return (1, 6): original height and width, crop top and left, target height and width."""
        _, *size = latent_shape or self.latent_shape()
        pixels = [side * self.pixels_per_latent for side in size]
        return torch.tensor([[*pixels, 0, 0, *pixels]], dtype=self.dtype, device=self.device)
