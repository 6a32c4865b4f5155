"""Sana: a transformer with linear self-attention and cross-attention on a language model's text."""

from typing import Any, ClassVar

import torch
from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel
from torch import Tensor
from transformers import Gemma2Model

from scanner.models.conditioning import Conditioning
from scanner.models.families.templates import instruction_of, tokenize_in_template
from scanner.models.noise_process import FlowMatching
from scanner.models.tokens import Tokens
from scanner.models.transformer_model import OneEncoderModel

TEXT_LENGTH = 300
"""Text positions by default in diffusers' SanaPipeline."""


class Sana(OneEncoderModel):
    """Encode text as diffusers' SanaPipeline does.

    The language model reads an instruction and then the caption, lower-cased and stripped. The
    transformer sees the beginning token and the last positions, which begin with the caption;
    padding is masked. The empty caption of v_∅ has no instruction, as in the pipeline. There is no
    end token.
    """

    family = "sana"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": SanaTransformer2DModel,
        "text_encoder": Gemma2Model,
    }
    vae: ClassVar[type[Any]] = AutoencoderDC
    has_end_token = False

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> FlowMatching:
        shift = scheduler.get("flow_shift", scheduler.get("shift", 1.0))
        return FlowMatching({**scheduler, "shift": shift}, spacing="levels")

    def tokenize(self, captions: list[str]) -> Tokens:
        return self._tokenize(captions, instruction_of(SanaPipeline))

    def encode_empty(self, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        return self.encode(self._tokenize([""], ""), latent_shape)

    def _tokenize(self, captions: list[str], instruction: str) -> Tokens:
        # The instruction's last token is the space before the caption, which joins its first word.
        count = len(self.tokenizer.encode(instruction)) if instruction else 2
        length = count + TEXT_LENGTH - 2
        read = [caption.lower().strip() for caption in captions]
        first = length - TEXT_LENGTH + 1
        return tokenize_in_template(
            self.tokenizer, captions, read, (instruction, ""), length, first, begins=1
        )

    def positions_read(self, tokens: Tokens) -> Tensor:
        return tokens.n_B

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        ids_BF, mask_BF = (of_all.to(self.device) for of_all in tokens.more_ids)
        hidden_BFC = self.text_encoder(ids_BF, attention_mask=mask_BF)[0].to(self.dtype)
        after = tokens.ids_BL.shape[1] - 1
        hidden_BLC, mask_BL = (
            torch.cat([values[:, :1], values[:, -after:]], 1) for values in (hidden_BFC, mask_BF)
        )
        return Conditioning(hidden_BLC, {"encoder_attention_mask": mask_BL})

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
            timestep=timestep.expand(len(x_BCHW)) * denoiser.config.timestep_scale,
            return_dict=False,
            **added,
        )[0]
        return output.chunk(2, 1)[0] if output.shape[1] == 2 * x_BCHW.shape[1] else output
