"""Neutral padding, and no attention on the EOS token (Kim and No, CVPR 2026 Findings)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation.forward import Forward
from scanner.mitigation.generation import Generation
from scanner.mitigation.methods.method import Method
from scanner.models.pipeline import denoiser_of, is_unet, replaced

NEUTRAL = "!"
MASK = "encoder_attention_mask"


@dataclass
class NeutralPadding(Method):
    """Encode the caption with "!" as padding, and hide its EOS token from cross-attention.

    The empty caption stays as it is. Tokenizers that pad with "!" already (OpenCLIP's, of Stable
    Diffusion 2 and half of XL) keep their padding, so there only the EOS token is hidden.
    https://arxiv.org/abs/2605.02908.
    """

    _padded_NLD: Tensor | None = field(default=None, init=False, repr=False)

    @contextmanager
    def install(self, pipe: Any) -> Iterator[None]:
        if not is_unet(denoiser_of(pipe)):
            raise UserError(
                "mitigation: method 'padding' needs a U-Net, whose cross-attention it masks; "
                "choose another method for this model"
            )
        original = pipe.encode_prompt

        def encode_prompt(*args: Any, **kwargs: Any) -> Any:
            embeddings = original(*args, **kwargs)
            with _neutral_padding(pipe):
                self._padded_NLD = original(*args, **kwargs)[0]
            return embeddings

        with replaced(pipe, "encode_prompt", encode_prompt):
            yield
        self._padded_NLD = None

    def prepare(self, forward: Forward, generation: Generation) -> Forward:
        n_N = generation.rows.n_N
        if n_N is None:
            raise UserError(
                "mitigation: the pipeline was given embeddings, whose padding cannot be replaced; "
                "pass prompts, or choose another method"
            )
        assert self._padded_NLD is not None, "set when the prompt was encoded"
        text_NLD = self._padded_NLD.to(forward.text_NLD)
        changed = forward.with_text(generation.mix(text_NLD, forward.text_NLD))
        positions = torch.arange(text_NLD.shape[1])
        keeps_NL = (positions != n_N.cpu()[:, None] - 1).to(text_NLD)
        all_NL = torch.ones_like(keeps_NL)
        mask_RL = torch.cat([all_NL, generation.mix(keeps_NL, all_NL)])
        return changed.with_arguments(**{MASK: mask_RL})


@contextmanager
def _neutral_padding(pipe: Any) -> Iterator[None]:
    """Let the pipeline's tokenizers pad with the neutral token within this context."""
    with ExitStack() as stack:
        for name in ("tokenizer", "tokenizer_2"):
            tokenizer = getattr(pipe, name, None)
            if tokenizer is None:
                continue
            if tokenizer.convert_tokens_to_ids(NEUTRAL) in (None, tokenizer.unk_token_id):
                raise UserError(
                    f"mitigation: method 'padding' needs the token {NEUTRAL!r}, which this model's "
                    "tokenizer lacks; choose another method"
                )
            stack.callback(setattr, tokenizer, "pad_token", tokenizer.pad_token)
            tokenizer.pad_token = NEUTRAL
        yield
