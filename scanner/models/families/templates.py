"""Tokenize captions inside the template that a language model reads as a text encoder."""

import bisect
import inspect
import re
from typing import Any

import torch

from scanner.models.tokens import Tokens

_WORD = re.compile(r"\S+")


def instruction_of(pipeline: type[Any]) -> str:
    """Return the instruction that a pipeline puts before captions by default."""
    lines = inspect.signature(pipeline.__call__).parameters["complex_human_instruction"].default
    return "\n".join(lines)


def tokenize_in_template(
    tokenizer: Any,
    captions: list[str],
    read: list[str],
    template: tuple[str, str],
    length: int,
    first: int,
    begins: int,
) -> Tokens:
    """Tokenize ``template[0] + text + template[1]``, pad and truncate to ``length`` positions.

    ``read``: the texts, which the model reads in place of the captions: the same but for case and
    the white space around them. The text of the denoiser is the ``begins`` beginning tokens and the
    positions from ``first`` on; ``more_ids`` of the result are the ids and the mask of all
    positions. Words are divided at white space.
    """
    before, after = template
    batch = tokenizer(
        [before + text + after for text in read],
        padding="max_length",
        truncation=True,
        max_length=length,
        padding_side="right",
    )
    ids_BF, mask_BF = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
    kept = [*range(begins), *range(first, length)]
    spans, words, is_word = [], [], []
    for caption, text, encoding in zip(captions, read, batch.encodings, strict=True):
        starts = [match.start() for match in _WORD.finditer(text)]
        lead = len(caption) - len(caption.lstrip()) if text != caption else 0
        aligned = len(text) == len(caption.strip()) or text == caption
        offsets, mask = encoding.offsets, encoding.attention_mask  # each access copies the list
        of_caption, numbers, inside = [], [], []
        for position in kept:
            start, end = (edge - len(before) for edge in offsets[position])
            start, end = max(start, 0), min(end, len(text))
            inside.append(start < end and bool(mask[position]))
            while start < end and text[start].isspace():
                start += 1
            has_word = inside[-1] and start < end
            of_caption.append((start + lead, end + lead) if has_word else (0, 0))
            numbers.append(bisect.bisect(starts, start) - 1 if has_word and aligned else None)
        spans.append(of_caption)
        words.append(numbers)
        is_word.append(inside)
    words_BL = torch.tensor(is_word)
    position_L = torch.arange(1, len(kept) + 1)
    last_B = (words_BL * position_L).amax(1).clamp(min=begins)
    return Tokens(
        ids_BL=ids_BF[:, kept],
        n_B=(last_B + 1).clamp(max=len(kept)),
        spans=spans,
        words=words,
        truncated=[bool(encoding.overflowing) for encoding in batch.encodings],
        more_ids=(ids_BF, mask_BF),
        words_BL=words_BL,
        begins=begins,
    )
