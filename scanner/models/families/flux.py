"""FLUX.1-dev and Chroma: joint attention in two streams and in one, trained by flow matching."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from diffusers import ChromaTransformer2DModel, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from scanner.models.conditioning import Conditioning
from scanner.models.families.t5 import tokenize_t5
from scanner.models.noise_process import NoiseProcess
from scanner.models.tokens import Tokens, tokenize
from scanner.models.transformer_model import OneEncoderModel, TransformerModel, pack, unpack

T5_LENGTH = 512
"""Text positions by default in diffusers' FluxPipeline and ChromaPipeline."""
GUIDANCE = 3.5
"""FluxPipeline's default for models that take the guidance scale as an input."""


class Flux(TransformerModel):
    """Encode text as diffusers' FluxPipeline does.

    The text is 512 positions of T5, of which none is masked: padding is attended to, and counts as
    summary tokens. CLIP's pooled text enters every block through the time embedding, so only the
    embedding of the latents is independent of the caption. FLUX.1-dev takes the guidance scale as
    an input and has no branch without a caption: v_∅ is of the empty caption at the same scale.
    """

    family = "flux"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": FluxTransformer2DModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
    }
    tokenizers: ClassVar[dict[str, str]] = {
        "tokenizer": "text_encoder",
        "tokenizer_2": "text_encoder_2",
    }
    begins = 0
    has_joint_attention = True
    packing = 2

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        text_encoder: torch.nn.Module,
        text_encoder_2: torch.nn.Module,
        tokenizer: Any,
        tokenizer_2: Any,
        noise_process: NoiseProcess,
        weights: str,
        pixels_per_latent: int = 8,
    ) -> None:
        super().__init__(transformer, tokenizer, noise_process, weights, pixels_per_latent)
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.text_encoder_2 = text_encoder_2.eval().requires_grad_(False)
        self.tokenizer_2 = tokenizer_2
        self.embedded_guidance = GUIDANCE if transformer.config.guidance_embeds else None

    def tokenize(self, captions: list[str]) -> Tokens:
        pooled = tokenize(self.tokenizer, captions)
        return replace(
            tokenize_t5(self.tokenizer_2, captions, T5_LENGTH), more_ids=(pooled.ids_BL,)
        )

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        pooled = self.text_encoder(tokens.more_ids[0].to(self.device)).pooler_output
        hidden_BLC = self.text_encoder_2(tokens.ids_BL.to(self.device))[0]
        return Conditioning(
            hidden_BLC.to(self.dtype), {"pooled_projections": pooled.to(self.dtype)}
        )

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        batch = len(x_BCHW)
        guidance = None
        if denoiser.config.guidance_embeds:
            guidance = torch.full((batch,), GUIDANCE, device=x_BCHW.device)
        return _run(denoiser, x_BCHW, timestep, hidden_BLC, guidance=guidance, **added)


class Chroma(OneEncoderModel):
    """Encode text as diffusers' ChromaPipeline does.

    The text is 512 positions of T5. The transformer sees the words, the end token and one padding
    token. The pipeline of diffusers 0.42 passes this mask as numbers, which attention adds to the
    logits (huggingface/diffusers issue 12116); here it masks, as in training.
    """

    family = "chroma"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": ChromaTransformer2DModel,
        "text_encoder": T5EncoderModel,
    }
    begins = 0
    has_joint_attention = True
    packing = 2

    def tokenize(self, captions: list[str]) -> Tokens:
        return tokenize_t5(self.tokenizer, captions, T5_LENGTH)

    def positions_read(self, tokens: Tokens) -> Tensor:
        return tokens.n_B + 1

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        n_B1 = tokens.n_B.to(self.device)[:, None]
        position_L = torch.arange(tokens.ids_BL.shape[1], device=self.device)
        hidden = self.text_encoder(
            tokens.ids_BL.to(self.device), attention_mask=(position_L < n_B1).long()
        )
        return Conditioning(hidden[0].to(self.dtype), {"is_read_BL": position_L <= n_B1})

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        is_read_BL = added["is_read_BL"]
        positions = x_BCHW.shape[2] * x_BCHW.shape[3] // Chroma.packing**2
        mask_BS = torch.nn.functional.pad(is_read_BL, (0, positions), value=True)
        return _run(denoiser, x_BCHW, timestep, hidden_BLC, attention_mask=mask_BS)


def _run(
    denoiser: torch.nn.Module,
    x_BCHW: Tensor,
    timestep: Tensor,
    hidden_BLC: Tensor,
    **inputs: Tensor | None,
) -> Tensor:
    """Run a transformer over packed latents, with the positions of their tokens."""
    height, width = (size // Flux.packing for size in x_BCHW.shape[2:])
    rows = torch.arange(height, device=x_BCHW.device, dtype=x_BCHW.dtype)
    columns = torch.arange(width, device=x_BCHW.device, dtype=x_BCHW.dtype)
    ids_P3 = torch.stack(
        [
            torch.zeros(height * width, device=x_BCHW.device, dtype=x_BCHW.dtype),
            rows.repeat_interleave(width),
            columns.repeat(height),
        ],
        1,
    )
    tokens_BPC: Tensor = denoiser(
        pack(x_BCHW),
        encoder_hidden_states=hidden_BLC,
        timestep=(timestep / 1000).expand(len(x_BCHW)),
        img_ids=ids_P3,
        txt_ids=ids_P3.new_zeros((hidden_BLC.shape[1], 3)),
        return_dict=False,
        **inputs,
    )[0]
    return unpack(tokens_BPC, x_BCHW.shape[2])
