"""Tokenize captions for a CLIP text encoder, with each token's span in the original caption."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """A batch of B captions at L text positions.

    ids_BL: padded token ids. n_B: token counts including the beginning and the first end token,
    after truncation. spans, words: for each caption and position, the character span in the
    original caption and the word number (None for special tokens). truncated: whether the caption
    exceeds L positions. second_ids_BL: ids of a second tokenizer, if the family has one.
    """

    ids_BL: Tensor
    n_B: Tensor
    spans: list[list[tuple[int, int]]]
    words: list[list[int | None]]
    truncated: list[bool]
    second_ids_BL: Tensor | None = None

    def __getitem__(self, part: slice) -> "Tokens":
        return Tokens(
            self.ids_BL[part],
            self.n_B[part],
            self.spans[part],
            self.words[part],
            self.truncated[part],
            None if self.second_ids_BL is None else self.second_ids_BL[part],
        )

    def padded(self, rows: int) -> "Tokens":
        """The batch with its last caption repeated, as far as a model reads it."""
        number = torch.arange(rows).clamp(max=len(self.n_B) - 1)
        second = self.second_ids_BL
        return replace(
            self,
            ids_BL=self.ids_BL[number],
            n_B=self.n_B[number],
            second_ids_BL=None if second is None else second[number],
        )

    def to(self, device: torch.device) -> "Tokens":
        """The batch with its tensors on a device; from pinned memory, without waiting."""
        second = self.second_ids_BL
        return replace(
            self,
            ids_BL=_sent(self.ids_BL, device),
            n_B=_sent(self.n_B, device),
            second_ids_BL=None if second is None else _sent(second, device),
        )


def _sent(values: Tensor, device: torch.device) -> Tensor:
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def tokenize(tokenizer: Any, captions: list[str]) -> Tokens:
    """Tokenize, pad and truncate to the tokenizer's maximum length.

    The first end token ends the caption, even one spelled out in the caption; the padding token may
    differ from it (Stable Diffusion 2).
    """
    batch = tokenizer(
        captions, padding="max_length", truncation=True, max_length=tokenizer.model_max_length
    )
    ids = torch.tensor(batch["input_ids"])
    ends = (ids == tokenizer.eos_token_id).int()
    return Tokens(
        ids_BL=ids,
        n_B=ends.argmax(1) + 1,
        spans=[encoding.offsets for encoding in batch.encodings],
        words=[encoding.word_ids for encoding in batch.encodings],
        truncated=[bool(encoding.overflowing) for encoding in batch.encodings],
    )


def canonical(tokenizer: Any, caption: str) -> str:
    """Return the canonical text: equal for captions that the tokenizer reads alike."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return (normalizer.normalize_str(caption) if normalizer else caption).strip()
