"""Lumina-Image 2.0: one sequence of a language model's text and the image, by flow matching."""

from typing import Any, ClassVar

import torch
from diffusers import Lumina2Transformer2DModel
from torch import Tensor
from transformers import Gemma2Model

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

TEXT_LENGTH = 256
"""Text positions by default in diffusers' Lumina2Pipeline, with the instruction."""
INSTRUCTION = (
    "You are an assistant designed to generate superior images with the superior degree of "
    "image-text alignment based on textual prompts or user prompts. <Prompt Start> "
)
"""What the model was trained to read before a caption: the pipeline's default."""


class Lumina2(OneEncoderModel):
    """Encode text as diffusers' Lumina2Pipeline does.

    The language model reads an instruction and then the caption, of which the transformer sees all;
    padding is masked. The instruction is the same for every caption and counts as beginning tokens.
    The empty caption of v_∅ has no instruction, as in the pipeline. There is no end token. The
    transformer predicts −v, at the time 1 − σ.
    """

    family = "lumina-2"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": Lumina2Transformer2DModel,
        "text_encoder": Gemma2Model,
    }
    has_end_token = False
    has_joint_attention = True
    # Its last token would be the space before the caption, which joins the caption's first word.
    preamble = INSTRUCTION.rstrip()

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.move_tables(self.device)

    def move_tables(self, device: torch.device) -> None:
        rope = self.transformer.rope_embedder
        rope.freqs_cis = [table.to(device) for table in rope.freqs_cis]

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> FlowMatching:
        return FlowMatching(scheduler, (denoiser or {}).get("patch_size", 2), spacing="steps")

    def tokenize(self, captions: list[str]) -> Tokens:
        return self._tokenize(captions, INSTRUCTION, self.begins)

    def encode_empty(self, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        return self.encode(self._tokenize([""], "", 1), latent_shape)

    def _tokenize(self, captions: list[str], instruction: str, begins: int) -> Tokens:
        template = instruction, ""
        return tokenize_in_template(
            self.tokenizer, captions, captions, template, TEXT_LENGTH, begins, begins
        )

    def positions_read(self, tokens: Tokens) -> Tensor:
        return tokens.more_ids[1].sum(1)

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        ids_BL, mask_BL = (of_all.to(self.device) for of_all in tokens.more_ids)
        output = self.text_encoder(ids_BL, attention_mask=mask_BL, output_hidden_states=True)
        return Conditioning(
            output.hidden_states[-2].to(self.dtype), {"encoder_attention_mask": mask_BL.bool()}
        )

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        mask_BL = added["encoder_attention_mask"]
        return run_within_hook(_run, denoiser, x_BCHW, timestep, hidden_BLC, mask_BL)


def _run(
    denoiser: torch.nn.Module,
    x_BCHW: Tensor,
    timestep: Tensor,
    hidden_BLC: Tensor,
    mask_BL: Tensor,
) -> Tensor:
    side, (height, width) = denoiser.config.patch_size, x_BCHW.shape[2:]
    length, grid = mask_BL.shape[1], (height // side, width // side)
    time_B = (1 - timestep / 1000).expand(len(x_BCHW))
    time_BC, text_BLC = denoiser.time_caption_embed(x_BCHW, time_B, hidden_BLC)
    text_L3, image_BP3 = positions(0, length, mask_BL.sum(1), grid)
    at_BS3 = torch.cat([text_L3.expand(len(x_BCHW), -1, -1), image_BP3], 1)
    rotary_BSC = denoiser.rope_embedder._get_freqs_cis(at_BS3)
    image_BPC = denoiser.x_embedder(patches(x_BCHW, side))
    for block in denoiser.context_refiner:
        text_BLC = block(text_BLC, mask_BL, rotary_BSC[:, :length])
    for block in denoiser.noise_refiner:
        image_BPC = block(image_BPC, None, rotary_BSC[:, length:], time_BC)
    place_tokens(
        (block.attn for block in denoiser.layers if hasattr(block, "attn")),
        length,
        image_BPC.shape[1],
    )
    mask_BS = torch.nn.functional.pad(mask_BL, (0, image_BPC.shape[1]), value=True)
    joined_BSC = torch.cat([text_BLC, image_BPC], 1)
    for block in denoiser.layers:
        joined_BSC = block(joined_BSC, mask_BS, rotary_BSC, time_BC)
    output_BPC = denoiser.norm_out(joined_BSC[:, length:], time_BC)
    return -unpatched(output_BPC, height, side)
