"""CogView4: joint attention on a language model's text, trained by flow matching."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import CogView4Transformer2DModel
from diffusers.models.transformers.transformer_cogview4 import CogView4TrainingAttnProcessor
from torch import Tensor
from transformers import GlmModel

from scanner.models.conditioning import Conditioning
from scanner.models.families.templates import tokenize_in_template
from scanner.models.noise_process import FlowMatching, Timestep
from scanner.models.tokens import Tokens
from scanner.models.transformer_model import OneEncoderModel

TEXT_LENGTH = 1024
"""Text positions by default in diffusers' CogView4Pipeline."""
MULTIPLE = 16
"""The pipeline pads the text to whole multiples of this."""


class UnshiftedFlowMatching(FlowMatching):
    """Flow matching whose denoiser is told the noise level before its shift.

    Timesteps are 1000 times the level that the denoiser is told, in whole numbers; the latents are
    at the shifted level.
    """

    def timesteps(self, steps: int, latent_shape: Sequence[int] | None = None) -> list[Timestep]:
        times: list[Timestep] = [int(time) for time in np.linspace(self.levels, 1, steps)]
        return times

    def step(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        timestep: Timestep,
        following: Timestep | None,
    ) -> Tensor:
        now, later = (self.level(time, x_BCHW.shape) for time in (timestep, following or 0))
        return x_BCHW + (later - now) * prediction_BCHW

    def level(self, timestep: Timestep, latent_shape: Sequence[int]) -> float:
        """Return σ of the latents at a timestep."""
        told, config = timestep / self.levels, self.scheduler.config
        if not told:
            return 0.0
        if not config.use_dynamic_shifting:
            return float(config.shift * told / (1 + (config.shift - 1) * told))
        return float(self.scheduler.time_shift(self._mu(latent_shape), 1.0, told))

    def _mu(self, latent_shape: Sequence[int]) -> float:
        config = self.scheduler.config
        tokens = latent_shape[-2] * latent_shape[-1] // self.patch_size**2
        return float((tokens / config.base_image_seq_len) ** 0.5 * config.max_shift) + float(
            config.base_shift
        )


class CogView4(OneEncoderModel):
    """Encode text as diffusers' CogView4Pipeline does.

    The pipeline pads a caption before its beginning tokens to a whole multiple of 16 positions, and
    masks none. The transformer's text has no positions; here padding is moved after the caption,
    and counts as summary tokens. What longer captions of a batch add to that is masked, for which
    the attention processor that diffusers has for training serves. There is no end token.
    """

    family = "cogview4"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": CogView4Transformer2DModel,
        "text_encoder": GlmModel,
    }
    has_end_token = False
    has_joint_attention = True
    preamble = ""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        for block in self.transformer.transformer_blocks:
            block.attn1.set_processor(CogView4TrainingAttnProcessor())

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> FlowMatching:
        return UnshiftedFlowMatching(scheduler, (denoiser or {}).get("patch_size", 2))

    def tokenize(self, captions: list[str]) -> Tokens:
        tokens = tokenize_in_template(
            self.tokenizer, captions, captions, ("", ""), TEXT_LENGTH, self.begins, self.begins
        )
        return replace(tokens, more_ids=tokens.more_ids[1:])

    def positions_read(self, tokens: Tokens) -> Tensor:
        return tokens.more_ids[0].sum(1)

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        count_B1 = tokens.more_ids[0].to(self.device).sum(1, keepdim=True)
        padded_B1 = -(-count_B1 // MULTIPLE) * MULTIPLE
        position_L = torch.arange(tokens.ids_BL.shape[1], device=self.device)
        is_text_BL = position_L < padded_B1
        moved_BL = torch.where(is_text_BL, (position_L + count_B1) % padded_B1, position_L)
        # Positions after the text are not read by those before them: the encoder is causal.
        hidden_BLC = self.text_encoder(
            tokens.ids_BL.to(self.device).gather(1, moved_BL), output_hidden_states=True
        ).hidden_states[-2]
        back_BL = torch.where(
            is_text_BL, (position_L + padded_B1 - count_B1) % padded_B1, position_L
        )
        hidden_BLC = hidden_BLC.gather(1, back_BL[..., None].expand_as(hidden_BLC))
        _, height, width = latent_shape or self.latent_shape()
        size = torch.tensor([height, width], device=self.device) * self.pixels_per_latent
        size_B2 = size.to(self.dtype).expand(len(count_B1), -1)
        return Conditioning(
            hidden_BLC.to(self.dtype),
            {
                "is_text_BL": is_text_BL,
                "original_size": size_B2,
                "target_size": size_B2,
                "crop_coords": torch.zeros_like(size_B2),
            },
        )

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        sizes = {name: value for name, value in added.items() if name != "is_text_BL"}
        output: Tensor = denoiser(
            x_BCHW,
            encoder_hidden_states=hidden_BLC,
            timestep=timestep.expand(len(x_BCHW)),
            attention_kwargs={"text_attn_mask": added["is_text_BL"].int()},
            return_dict=False,
            **sizes,
        )[0]
        return output
