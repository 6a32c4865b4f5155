"""Qwen-Image: joint attention in two streams on a vision-language model's text."""

from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from scanner.models.conditioning import Conditioning
from scanner.models.families.templates import tokenize_in_template
from scanner.models.tokens import Tokens
from scanner.models.transformer_model import OneEncoderModel, pack, unpack

TEXT_LENGTH = 512
"""Text positions by default in diffusers' QwenImagePipeline."""
DROPPED = 34
"""Tokens of the template before the caption, which the transformer does not see."""
_SYSTEM = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, "
    "spatial relationships of the objects and background:"
)
TEMPLATE = (
    f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n",
    "<|im_end|>\n<|im_start|>assistant\n",
)
"""What the model was trained to read before and after a caption."""


class QwenImage(OneEncoderModel):
    """Encode text as diffusers' QwenImagePipeline does.

    The text is the language model's hidden states after the template's beginning; padding is
    masked. What the template has after the caption counts as summary tokens, the first of which is
    the end token. The pipeline rescales guided velocities, which is not done here.
    """

    family = "qwen-image"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": QwenImageTransformer2DModel,
        "text_encoder": Qwen2_5_VLForConditionalGeneration,
    }
    vae: ClassVar[type[Any]] = AutoencoderKLQwenImage
    begins = 0
    has_joint_attention = True
    packing = 2

    def tokenize(self, captions: list[str]) -> Tokens:
        length = DROPPED + TEXT_LENGTH
        return tokenize_in_template(
            self.tokenizer, captions, captions, TEMPLATE, length, DROPPED, begins=0
        )

    def positions_read(self, tokens: Tokens) -> Tensor:
        return tokens.more_ids[1].sum(1) - DROPPED

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        ids_BF, mask_BF = (of_all.to(self.device) for of_all in tokens.more_ids)
        hidden_BFC = self.text_encoder(
            ids_BF, attention_mask=mask_BF, output_hidden_states=True, logits_to_keep=1
        ).hidden_states[-1]
        is_read_BL = mask_BF[:, DROPPED:].bool()
        # The pipeline has zeros in place of padding.
        hidden_BLC = hidden_BFC[:, DROPPED:].to(self.dtype) * is_read_BL[..., None]
        return Conditioning(hidden_BLC, {"encoder_hidden_states_mask": is_read_BL})

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        batch, _, height, width = x_BCHW.shape
        tokens_BPC: Tensor = denoiser(
            pack(x_BCHW),
            encoder_hidden_states=hidden_BLC,
            timestep=(timestep / 1000).expand(batch),
            img_shapes=[[(1, height // QwenImage.packing, width // QwenImage.packing)]] * batch,
            return_dict=False,
            **added,
        )[0]
        return unpack(tokens_BPC, height)
