"""Stable Diffusion 3 and 3.5: a transformer with joint attention, trained by flow matching."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.nn.functional import pad
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from scanner.models.conditioning import Conditioning
from scanner.models.noise_process import FlowMatching
from scanner.models.tokens import Tokens, tokenize
from scanner.models.transformer_model import TransformerModel

T5_LENGTH = 256
"""Text positions of T5 by default in diffusers' StableDiffusion3Pipeline."""


class StableDiffusion3(TransformerModel):
    """Encode text as diffusers' StableDiffusion3Pipeline does.

    The text is 77 positions of both CLIP encoders' penultimate hidden states, concatenated, and 256
    positions of T5, which are zeros without T5. Nothing is masked: padding and zeros are attended
    to, and count as summary tokens. The pooled text of both CLIP encoders enters every block
    through the time embedding, so only the patch embedding is independent of the caption.

    Token counts, spans and triggers come from the first tokenizer. Words that only T5 reads, since
    they exceed CLIP's length, count in the masses but have no triggers.
    """

    family = "stable-diffusion-3"
    parts: ClassVar[dict[str, Any]] = {
        "transformer": SD3Transformer2DModel,
        "text_encoder": CLIPTextModelWithProjection,
        "text_encoder_2": CLIPTextModelWithProjection,
        "text_encoder_3": T5EncoderModel,
    }
    optional = ("text_encoder_3", "tokenizer_3")
    tokenizers: ClassVar[dict[str, str]] = {
        "tokenizer": "text_encoder",
        "tokenizer_2": "text_encoder_2",
        "tokenizer_3": "text_encoder_3",
    }
    has_joint_attention = True

    def __init__(
        self,
        transformer: SD3Transformer2DModel,
        text_encoder: torch.nn.Module,
        text_encoder_2: torch.nn.Module,
        tokenizer: Any,
        tokenizer_2: Any,
        noise_process: FlowMatching,
        weights: str,
        text_encoder_3: torch.nn.Module | None = None,
        tokenizer_3: Any = None,
        pixels_per_latent: int = 8,
    ) -> None:
        super().__init__(transformer, tokenizer, noise_process, weights, pixels_per_latent)
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.text_encoder_2 = text_encoder_2.eval().requires_grad_(False)
        self.text_encoder_3 = text_encoder_3 and text_encoder_3.eval().requires_grad_(False)
        self.tokenizer_2, self.tokenizer_3 = tokenizer_2, tokenizer_3

    @classmethod
    def noise_process_of(
        cls, scheduler: dict[str, Any], denoiser: dict[str, Any] | None = None
    ) -> FlowMatching:
        return FlowMatching(scheduler, (denoiser or {}).get("patch_size", 2))

    @property
    def equal_tail(self) -> int:
        """Without T5, the zeros in its place."""
        return 0 if self.text_encoder_3 else T5_LENGTH

    def tokenize(self, captions: list[str]) -> Tokens:
        """Tokenize with all tokenizers; "truncated" means by the longest."""
        clip = super().tokenize(captions)
        ids = (tokenize(self.tokenizer_2, captions).ids_BL,)
        words_BL = _words(clip.n_B, clip.ids_BL.shape[1])
        if self.tokenizer_3 is None:
            return replace(clip, more_ids=ids, words_BL=pad(words_BL, (0, T5_LENGTH)))
        batch = self.tokenizer_3(
            captions, padding="max_length", truncation=True, max_length=T5_LENGTH
        )
        t5_BL, read_BL = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
        is_word_BL = read_BL.bool() & (t5_BL != self.tokenizer_3.eos_token_id)
        return replace(
            clip,
            more_ids=(*ids, t5_BL),
            words_BL=torch.cat([words_BL, is_word_BL], 1),
            truncated=[bool(encoding.overflowing) for encoding in batch.encodings],
        )

    def encode(self, tokens: Tokens, latent_shape: tuple[int, ...] | None = None) -> Conditioning:
        assert tokens.more_ids, "tokens of another family"
        ids = (tokens.ids_BL, *tokens.more_ids)
        clip = [
            encoder(of_encoder.to(self.device), output_hidden_states=True)
            for encoder, of_encoder in zip(
                (self.text_encoder, self.text_encoder_2), ids, strict=False
            )
        ]
        clip_BLC = torch.cat([output.hidden_states[-2] for output in clip], -1)
        width = self.transformer.config.joint_attention_dim
        clip_BLC = pad(clip_BLC, (0, width - clip_BLC.shape[-1])).to(self.dtype)
        hidden_BLC = torch.cat([clip_BLC, self._t5(ids, clip_BLC)], 1)
        pooled_BC = torch.cat([output.text_embeds for output in clip], -1).to(self.dtype)
        return Conditioning(hidden_BLC, {"pooled_projections": pooled_BC})

    def _t5(self, ids: tuple[Tensor, ...], clip_BLC: Tensor) -> Tensor:
        if self.text_encoder_3 is None:
            return clip_BLC.new_zeros((len(clip_BLC), T5_LENGTH, clip_BLC.shape[-1]))
        hidden: Tensor = self.text_encoder_3(ids[2].to(self.device))[0].to(self.dtype)
        return hidden

    @staticmethod
    def run(
        denoiser: torch.nn.Module,
        x_BCHW: Tensor,
        timestep: Tensor,
        hidden_BLC: Tensor,
        added: dict[str, Tensor],
    ) -> Tensor:
        output: Tensor = denoiser(
            x_BCHW, hidden_BLC, timestep=timestep, return_dict=False, **added
        )[0]
        return output


def _words(n_B: Tensor, length: int) -> Tensor:
    """Return which positions of a CLIP text hold words, 1 … n−2: (B, L)."""
    position_L = torch.arange(length)
    return (position_L > 0) & (position_L < n_B[:, None] - 1)
