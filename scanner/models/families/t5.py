"""Tokenize captions for a T5 text encoder, whose text has no beginning token."""

from typing import Any

import torch

from scanner.models.tokens import Tokens


def tokenize_t5(tokenizer: Any, captions: list[str], length: int) -> Tokens:
    """Tokenize, pad and truncate to ``length`` positions: the words, the end token, padding."""
    batch = tokenizer(captions, padding="max_length", truncation=True, max_length=length)
    ids_BL, read_BL = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"]).bool()
    n_B = read_BL.sum(1)
    return Tokens(
        ids_BL=ids_BL,
        n_B=n_B,
        spans=[encoding.offsets for encoding in batch.encodings],
        words=[encoding.word_ids for encoding in batch.encodings],
        truncated=[bool(encoding.overflowing) for encoding in batch.encodings],
        words_BL=torch.arange(length) < n_B[:, None] - 1,
        begins=0,
    )
