"""Stable Diffusion XL: two text encoders, and a U-Net that is also told a pooled text and sizes."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from scanner.models.conditioning import Conditioning
from scanner.models.diffusion_model import DiffusionModel
from scanner.models.tokens import Tokens, tokenize


class StableDiffusionXL(DiffusionModel):
    """Text is encoded as diffusers' StableDiffusionXLPipeline does it.

    Both encoders' penultimate hidden states side by side, the second's projected pooled output,
    and as size ids (original size, crop, target size) an uncropped picture of the scored size.
    Token counts, spans and triggers come from the first tokenizer. With
    ``force_zeros_for_empty_prompt`` ε_∅ is told zeros, which is not what an empty caption is told.

    Which layers stand for Stable Diffusion 1's: there, the entropy layer 3 is the last attention
    of the second down block, at half the latent's resolution, and the early layers are all that
    run up to it. SDXL's first down block has no attention; its second works at half the latent's
    resolution and holds two attentions of two transformer blocks each: layers 0 to 3 of 70. So
    the early layers are the cross-attentions of the first down block that has any, the entropy
    layer is the last of them, and in SDXL both have the numbers that they have in Stable
    Diffusion 1. Everything later runs at a quarter of the resolution (layers 4 to 63), or is on
    the way up (64 to 69). Maps are kept from the first two of them, as in Stable Diffusion 1.
    """

    family = "stable-diffusion-xl"
    parts: ClassVar[dict[str, Any]] = {
        "unet": UNet2DConditionModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    tokenizers = ("tokenizer", "tokenizer_2")
    settings: ClassVar[dict[str, Any]] = {"force_zeros_for_empty_prompt": True}

    def __init__(
        self,
        unet: torch.nn.Module,
        text_encoder: torch.nn.Module,
        text_encoder_2: torch.nn.Module,
        tokenizer: Any,
        tokenizer_2: Any,
        scheduler: DDIMScheduler,
        weights: str,
        force_zeros_for_empty_prompt: bool = True,
        pixels_per_latent: int = 8,
    ) -> None:
        super().__init__(unet, tokenizer, scheduler, weights, pixels_per_latent)
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
        """None are published for SDXL: Stable Diffusion 1's. Both parts are columns; refit them."""
        return (1.0, 2.0)

    def tokenize(self, captions: list[str]) -> Tokens:
        """The second tokenizer pads otherwise, and may read its padding token in a caption."""
        first = super().tokenize(captions)
        return replace(first, second_ids_BL=tokenize(self.tokenizer_2, captions).ids_BL)

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        assert tokens.second_ids_BL is not None, "tokens of another family"
        first = self.text_encoder(tokens.ids_BL.to(self.device), output_hidden_states=True)
        second = self.text_encoder_2(
            tokens.second_ids_BL.to(self.device), output_hidden_states=True
        )
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
        """(1, 6): original height and width, top and left of the crop, target height and width."""
        _, *size = latent_shape or self.latent_shape()
        pixels = [side * self.pixels_per_latent for side in size]
        return torch.tensor([[*pixels, 0, 0, *pixels]], dtype=self.dtype, device=self.device)
