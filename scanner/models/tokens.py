"""Tokenize captions for a CLIP text encoder, with each token's span in the original caption."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

TRIMMED = 64
"""Texts are trimmed to whole multiples of this: every length compiles anew."""


@dataclass(frozen=True)
class Tokens:
    """A batch of B captions at L text positions.

    ids_BL: padded token ids. n_B: token counts including the beginning and the first end token,
    after truncation. spans, words: for each caption and position, the character span in the
    original caption and the word number (None for special tokens). truncated: whether the caption
    exceeds the text length. more_ids: ids (B, …) of a family's further tokenizers. words_BL: which
    positions of the whole text hold the caption's words, for families whose text is more than one
    caption of L positions. begins: how many positions precede the caption's words, 1 for a
    beginning token.
    """

    ids_BL: Tensor
    n_B: Tensor
    spans: list[list[tuple[int, int]]]
    words: list[list[int | None]]
    truncated: list[bool]
    more_ids: tuple[Tensor, ...] = ()
    words_BL: Tensor | None = None
    begins: int = 1

    def __getitem__(self, part: slice) -> "Tokens":
        return Tokens(
            self.ids_BL[part],
            self.n_B[part],
            self.spans[part],
            self.words[part],
            self.truncated[part],
            tuple(ids[part] for ids in self.more_ids),
            None if self.words_BL is None else self.words_BL[part],
            self.begins,
        )

    def trimmed(self, length: int) -> "Tokens":
        """The batch without the padding after ``length`` positions, rounded up to whole TRIMMED."""
        whole = self.ids_BL.shape[1]
        drop = whole - min(whole, -(-length // TRIMMED) * TRIMMED)
        if not drop:
            return self
        return self._converted(lambda v: v[:, :-drop] if v.ndim == 2 else v)

    def padded(self, rows: int) -> "Tokens":
        """The batch with its last caption repeated, as far as a model reads it."""
        return self.rows(torch.arange(rows).clamp(max=len(self.n_B) - 1))

    def rows(self, numbers: Tensor) -> "Tokens":
        """The captions of these numbers, as far as a model reads them: without spans and words."""
        return self._converted(lambda values: values[numbers])

    def to(self, device: torch.device) -> "Tokens":
        """The batch with its tensors on a device; from pinned memory, without waiting."""
        return self._converted(lambda values: _sent(values, device))

    def _converted(self, convert: Callable[[Tensor], Tensor]) -> "Tokens":
        return replace(
            self,
            ids_BL=convert(self.ids_BL),
            n_B=convert(self.n_B),
            more_ids=tuple(map(convert, self.more_ids)),
            words_BL=None if self.words_BL is None else convert(self.words_BL),
        )


def _sent(values: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


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


def is_clip(encoders: Iterable[type[Any]]) -> bool:
    """Return whether all text encoders, by their classes, are CLIP's."""
    return all(issubclass(kind, CLIPTextModel | CLIPTextModelWithProjection) for kind in encoders)


def canonical(tokenizer: Any | None, caption: str) -> str:
    """Return the canonical text: equal for captions that the tokenizer reads alike.

    ``tokenizer``: None for models with several kinds of tokenizers, for which only equal captions
    are alike (CLIP's lower-cases, T5's does not). A caption of white space is empty for all.
    """
    if tokenizer is None:
        return caption if caption.strip() else ""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return (normalizer.normalize_str(caption) if normalizer else caption).strip()
