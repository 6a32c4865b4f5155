"""PixArt-α and PixArt-Σ: transformers with cross-attention on a masked T5 text."""

from typing import Any, ClassVar

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor
from transformers import T5EncoderModel

from scanner.models.conditioning import Conditioning
from scanner.models.families.t5 import tokenize_t5
from scanner.models.noise_process import Ddpm
from scanner.models.tokens import Tokens
from scanner.models.transformer_model import OneEncoderModel

MICRO_CONDITIONS = ("resolution", "aspect_ratio")


class PixArt(OneEncoderModel):
    """Encode text as diffusers' PixArt pipelines do: T5's hidden states, with padding masked.

    Captions are not cleaned (the pipelines' ``clean_caption=False``) but, as there, lower-cased and
    stripped. The transformer predicts a variance besides ε, which is not used.
    """

    family = "pixart-alpha"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": PixArtTransformer2DModel,
        "text_encoder": T5EncoderModel,
    }
    begins = 0
    text_length: ClassVar[int] = 120
    noise_process: Ddpm

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> Ddpm:
        return Ddpm(scheduler)

    def tokenize(self, captions: list[str]) -> Tokens:
        read = [caption.lower().strip() for caption in captions]
        tokens = tokenize_t5(self.tokenizer, read, self.text_length)
        for number, (caption, text) in enumerate(zip(captions, read, strict=True)):
            start = len(caption) - len(caption.lstrip())
            if len(caption.strip()) != len(text):  # as with İ, whose lower case is two characters
                tokens.words[number] = [None] * self.text_length
            elif start:
                spans = tokens.spans[number]
                tokens.spans[number] = [(start + first, start + end) for first, end in spans]
        return tokens

    def positions_read(self, tokens: Tokens) -> Tensor:
        return tokens.n_B

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        n_B1 = tokens.n_B.to(self.device)[:, None]
        mask_BL = (torch.arange(tokens.ids_BL.shape[1], device=self.device) < n_B1).long()
        hidden = self.text_encoder(tokens.ids_BL.to(self.device), attention_mask=mask_BL)[0]
        added = {"encoder_attention_mask": mask_BL}
        if self.transformer.use_additional_conditions:
            _, height, width = latent_shape or self.latent_shape()
            size = torch.tensor([height, width], device=self.device) * self.pixels_per_latent
            batch = len(tokens.n_B)
            added["resolution"] = size.to(self.dtype).expand(batch, -1)
            added["aspect_ratio"] = (size[:1] / size[1:]).to(self.dtype).expand(batch, -1)
        return Conditioning(hidden.to(self.dtype), added)

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        sizes = {name: added.get(name) for name in MICRO_CONDITIONS}
        output: Tensor = denoiser(
            x_BCHW,
            encoder_hidden_states=hidden_BLC,
            timestep=timestep.expand(len(x_BCHW)),
            added_cond_kwargs=sizes,
            encoder_attention_mask=added["encoder_attention_mask"],
            return_dict=False,
        )[0]
        return output.chunk(2, 1)[0] if output.shape[1] == 2 * x_BCHW.shape[1] else output


class PixArtSigma(PixArt):
    """PixArt-Σ: a longer text."""

    family = "pixart-sigma"
    text_length = 300
