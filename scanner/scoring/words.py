"""The words of a caption, and those of them that carry the attention.

A word is what the tokenizer's pre-tokenizer makes one, of one token or several.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scanner.run.schema import column

TRIGGERS = 5
TRIGGER_FIELD = column(
    "triggers",
    pa.list_(
        pa.struct(
            [
                pa.field("start", pa.int32()),
                pa.field("end", pa.int32()),
                pa.field("text", pa.string()),
                pa.field("token_index", pa.int32()),
                pa.field("mass", pa.float32()),
                pa.field("lift", pa.float32()),
            ]
        )
    ),
    "words with at least their share of the prompt's attention, by falling mass, at most "
    f"{TRIGGERS}: character span in the caption (end excluded), its text, the position of its "
    "heaviest token, mass, and lift = mass over the mean mass of a prompt token",
    source="Ren et al. 2024 (ECCV), finding 1",
)


@dataclass(frozen=True)
class Word:
    """Characters ``start`` to ``end`` (excluded) of a caption, at these text positions."""

    start: int
    end: int
    positions: tuple[int, ...]


def words_in(spans: list[tuple[int, int]], numbers: list[int | None], n: int) -> list[Word]:
    """The words that a model reads, in their order.

    ``spans``, ``numbers``: of each text position its characters and its word (None for special
    tokens), as Tokens has them; ``n``: the token count with the beginning and the end token.
    """
    positions: dict[int, list[int]] = {}
    for position in range(1, n - 1):
        number = numbers[position]
        if number is not None:
            positions.setdefault(number, []).append(position)
    return [
        Word(
            min(spans[position][0] for position in of_word),
            max(spans[position][1] for position in of_word),
            tuple(of_word),
        )
        for of_word in positions.values()
    ]


def triggers(
    caption: str, spans: list[tuple[int, int]], words: list[int | None], mass: np.ndarray
) -> list[dict]:
    """The words that carry the attention, each with the sum over its tokens.

    ``mass``: ā of positions 0 … n−1.
    """
    if len(mass) <= 2:
        return []
    mean = float(mass[1:-1].mean())
    shares = mass.tolist()  # numpy's scalars would take twice the time
    found: list[dict[str, Any]] = [
        {
            "start": word.start,
            "end": word.end,
            "text": caption[word.start : word.end],
            "token_index": max(word.positions, key=shares.__getitem__),
            "mass": (share := sum(shares[position] for position in word.positions)),
            "lift": share / mean if mean > 0 else 0.0,
        }
        for word in words_in(spans, words, len(mass))
    ]
    ordered = sorted(found, key=lambda word: (-word["mass"], word["start"]))
    return [word for word in ordered[:TRIGGERS] if word["mass"] >= mean]
