"""AuraFlow: joint attention in two streams and in one, trained by flow matching."""

import math
from typing import Any, ClassVar

import torch
from diffusers import AuraFlowTransformer2DModel
from torch import Tensor
from transformers import UMT5EncoderModel

from scanner.models.conditioning import Conditioning
from scanner.models.families.templates import tokenize_in_template
from scanner.models.noise_process import FlowMatching
from scanner.models.tokens import Tokens
from scanner.models.transformer_model import OneEncoderModel

TEXT_LENGTH = 256
"""Text positions by default in diffusers' AuraFlowPipeline."""


class AuraFlow(OneEncoderModel):
    """Encode text as diffusers' AuraFlowPipeline does.

    The text is 256 positions of a T5 with Llama's kind of tokenizer, with zeros in place of
    padding. Nothing is masked: padding is attended to, and counts as summary tokens. The
    transformer puts eight learned tokens before the text, which count as neither text nor image.
    """

    family = "aura-flow"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": AuraFlowTransformer2DModel,
        "text_encoder": UMT5EncoderModel,
    }
    begins = 0
    has_joint_attention = True

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> FlowMatching:
        return FlowMatching(scheduler, (denoiser or {}).get("patch_size", 2))

    @property
    def patches_per_side(self) -> float:
        return math.isqrt(self.transformer.config.pos_embed_max_size)

    def tokenize(self, captions: list[str]) -> Tokens:
        return tokenize_in_template(
            self.tokenizer, captions, captions, ("", ""), TEXT_LENGTH, first=0, begins=0
        )

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        ids_BL, mask_BL = (of_all.to(self.device) for of_all in tokens.more_ids)
        hidden_BLC = self.text_encoder(ids_BL, attention_mask=mask_BL)[0]
        return Conditioning(hidden_BLC.to(self.dtype) * mask_BL[..., None])

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        output: Tensor = denoiser(
            x_BCHW,
            encoder_hidden_states=hidden_BLC,
            timestep=(timestep / 1000).expand(len(x_BCHW)),
            return_dict=False,
        )[0]
        return output
