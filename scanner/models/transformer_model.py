"""What diffusion transformers have in common."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from scanner.errors import UserError
from scanner.models.diffusion_model import DiffusionModel
from scanner.models.layers import attention_layers
from scanner.models.noise_process import FlowMatching, NoiseProcess

EARLY_SHARE = 4
"""The early layers are the first quarter, as in Stable Diffusion 1: 4 of 16 there, 6 of 24 here."""
PACKED_SIDE = 128
"""Latent pixels along one side, by default in the pipelines whose transformers name no size."""


class TransformerModel(DiffusionModel):
    """A diffusion transformer: its image tokens are patches of latent pixels."""

    denoiser_part = "transformer"

    def __init__(
        self,
        transformer: torch.nn.Module,
        tokenizer: Any,
        noise_process: NoiseProcess,
        weights: str,
        pixels_per_latent: int = 8,
    ) -> None:
        super().__init__(transformer, tokenizer, noise_process, weights, pixels_per_latent)
        self.transformer = transformer
        self.layers = attention_layers(transformer)
        self.early_layers = tuple(range(-(-len(self.layers) // EARLY_SHARE)))
        self.entropy_layer = self.early_layers[-1]
        self.map_layers = self.early_layers[:2]

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> NoiseProcess:
        return FlowMatching(scheduler, cls.packing, spacing="steps")

    @property
    def patch_size(self) -> int:
        """Latent pixels along one side of an image token."""
        return int(self.transformer.config.patch_size) if self.packing == 1 else self.packing

    @property
    def patches_per_side(self) -> float:
        """How many patches along a side the model has positions for."""
        return self.transformer.config.get("pos_embed_max_size") or math.inf

    def latent_shape(
        self, height: int | None = None, width: int | None = None, side: float = 1
    ) -> tuple[int, ...]:
        """Return the latent shape, in whole patches. Raises UserError for other sizes, and for
        those with more patches than the model has positions."""
        config = self.transformer.config
        patch = self.patch_size
        pixels = patch * self.pixels_per_latent
        most = self.patches_per_side * pixels
        for name, size in (("height", height), ("width", width)):
            if size and size % pixels:
                raise UserError(f"{name} {size}: must be a multiple of {pixels} for this model")
            if size and size > most:
                raise UserError(f"{name} {size}: this model draws at most {most} px")
        own = config.get("sample_size") or PACKED_SIDE
        sides = [
            size // self.pixels_per_latent if size else patch * max(1, round(side * own / patch))
            for size in (height, width)
        ]
        return config.in_channels // self.packing**2, *sides


class OneEncoderModel(TransformerModel):
    """A diffusion transformer with one text encoder.

    ``preamble``: what the encoder reads before each caption, for families whose transformer sees it
    too; its tokens, with the tokenizer's own, are the beginning tokens.
    """

    preamble: ClassVar[str | None] = None

    def __init__(
        self,
        transformer: torch.nn.Module,
        text_encoder: torch.nn.Module,
        tokenizer: Any,
        noise_process: NoiseProcess,
        weights: str,
        pixels_per_latent: int = 8,
    ) -> None:
        super().__init__(transformer, tokenizer, noise_process, weights, pixels_per_latent)
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        if self.preamble is not None:
            self.begins = len(tokenizer.encode(self.preamble))


def pack(x_BCHW: Tensor, side: int = 2) -> Tensor:
    """Return latents as tokens of ``side`` × ``side`` pixels: (B, P, C · side²), channels first."""
    patches = x_BCHW.unflatten(2, (-1, side)).unflatten(4, (-1, side))  # B, C, h, s, w, s
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens_BPC: Tensor, height: int, side: int = 2) -> Tensor:
    """Return the latents (B, C, H, W) of tokens; ``height``: H."""
    patches = tokens_BPC.unflatten(1, (height // side, -1)).unflatten(3, (-1, side, side))
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
