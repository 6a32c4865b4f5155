"""Z-Image: one sequence of a language model's text and the image, by flow matching."""

from typing import Any, ClassVar

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor
from transformers import Qwen3Model

from scanner.models.conditioning import Conditioning
from scanner.models.families.one_sequence import (
    patches,
    place_tokens,
    positions,
    run_within_hook,
    unpatched,
)
from scanner.models.families.templates import tokenize_in_template
from scanner.models.noise_process import FlowMatching
from scanner.models.tokens import Tokens
from scanner.models.transformer_model import OneEncoderModel

TEXT_LENGTH = 512
"""Text positions by default in diffusers' ZImagePipeline, with the template."""
TEMPLATE = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
"""What the model was trained to read before and after a caption."""
MULTIPLE = 32
"""The transformer pads the text and the image to whole multiples of this, with learned tokens."""
SIDE = 2
"""Latent pixels along one side of an image token."""
EMBEDDER = f"{SIDE}-1"


class ZImage(OneEncoderModel):
    """Encode text as diffusers' ZImagePipeline does.

    The language model reads the caption in a template, of which the transformer sees all. The text
    is padded with a learned token to a whole multiple of 32 positions, which are attended to; what
    the template has after the caption and these count as summary tokens, the first of which is the
    end token. Tokens that pad the image are neither image nor text. The transformer predicts −v, at
    the time 1 − σ.
    """

    family = "z-image"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": ZImageTransformer2DModel,
        "text_encoder": Qwen3Model,
    }
    has_joint_attention = True
    preamble = TEMPLATE[0]

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> FlowMatching:
        return FlowMatching(scheduler, SIDE, spacing="steps")

    @property
    def patch_size(self) -> int:
        return SIDE

    def tokenize(self, captions: list[str]) -> Tokens:
        return tokenize_in_template(
            self.tokenizer, captions, captions, TEMPLATE, TEXT_LENGTH, self.begins, self.begins
        )

    def positions_read(self, tokens: Tokens) -> Tensor:
        return tokens.more_ids[1].sum(1)

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        ids_BL, mask_BL = (of_all.to(self.device) for of_all in tokens.more_ids)
        output = self.text_encoder(ids_BL, attention_mask=mask_BL, output_hidden_states=True)
        count_B1 = mask_BL.sum(1, keepdim=True)
        padded_B1 = -(-count_B1 // MULTIPLE) * MULTIPLE
        is_text_BL = torch.arange(mask_BL.shape[1], device=self.device) < padded_B1
        return Conditioning(
            output.hidden_states[-2].to(self.dtype),
            {"is_text_BL": is_text_BL, "count_B1": count_B1},
        )

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        return run_within_hook(_run, denoiser, x_BCHW, timestep, hidden_BLC, **added)


def _run(
    denoiser: torch.nn.Module,
    x_BCHW: Tensor,
    timestep: Tensor,
    hidden_BLC: Tensor,
    is_text_BL: Tensor,
    count_B1: Tensor,
) -> Tensor:
    (batch, length), (height, width) = is_text_BL.shape, x_BCHW.shape[2:]
    grid = height // SIDE, width // SIDE
    text_L3, image_BP3 = positions(1, length, is_text_BL.sum(1) + 1, grid)
    added_P = -image_BP3.shape[1] % MULTIPLE  # at the coordinates 0
    image_BP3 = torch.nn.functional.pad(image_BP3, (0, 0, 0, added_P))
    at_BS3 = torch.cat([text_L3.expand(batch, -1, -1), image_BP3], 1)
    rotary_BSC = denoiser.rope_embedder(at_BS3.flatten(0, 1)).unflatten(0, (batch, -1))

    time_B = (1 - timestep / 1000).expand(batch) * denoiser.t_scale
    time_BC = denoiser.t_embedder(time_B).type_as(x_BCHW)
    image_BPC = denoiser.all_x_embedder[EMBEDDER](patches(x_BCHW, SIDE))
    count = image_BPC.shape[1]
    pad_BPC = denoiser.x_pad_token.expand(batch, added_P, -1)
    image_BPC = torch.cat([image_BPC, pad_BPC.type_as(image_BPC)], 1)
    for block in denoiser.noise_refiner:
        image_BPC = block(image_BPC, None, rotary_BSC[:, length:], time_BC)
    text_BLC = denoiser.cap_embedder(hidden_BLC)
    is_read_BL = torch.arange(length, device=x_BCHW.device) < count_B1
    text_BLC = torch.where(is_read_BL[..., None], text_BLC, denoiser.cap_pad_token)
    for block in denoiser.context_refiner:
        text_BLC = block(text_BLC, is_text_BL, rotary_BSC[:, :length])

    place_tokens(
        (block.attention for block in denoiser.layers if hasattr(block, "attention")),
        length,
        count,
    )
    mask_BS = torch.nn.functional.pad(is_text_BL, (0, image_BPC.shape[1]), value=True)
    joined_BSC = torch.cat([text_BLC, image_BPC], 1)
    for block in denoiser.layers:
        joined_BSC = block(joined_BSC, mask_BS, rotary_BSC, time_BC)
    image_BPC = joined_BSC[:, length : length + count]
    output_BPC = denoiser.all_final_layer[EMBEDDER](image_BPC, c=time_BC)
    return -unpatched(output_BPC, height, SIDE)
