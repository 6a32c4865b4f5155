"""What a caption's text alone tells: the controls, and the words that carry the attention."""

from typing import Any

import numpy as np
import pyarrow as pa

from scanner.models import Tokens
from scanner.run.schema import column
from scanner.scoring.words import words_in

TRIGGERS = 5

CONTROL_FIELDS = (
    column("n_tokens", pa.int32(), "tokens with the beginning and end token, after truncation"),
    column("title_case_fraction", pa.float32(), "share of words in title case", "share"),
    column("digit_fraction", pa.float32(), "share of characters that are digits", "share"),
)
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


def title_case_fraction(caption: str) -> float:
    words = caption.split()
    return sum(word.istitle() for word in words) / len(words) if words else 0.0


def digit_fraction(caption: str) -> float:
    return sum(map(str.isdigit, caption)) / len(caption) if caption else 0.0


def triggers(
    caption: str, spans: list[tuple[int, int]], words: list[int | None], mass: np.ndarray
) -> list[dict]:
    """The words that carry the attention. ``mass``: ā of positions 0 … n−1.

    A word is what the tokenizer's pre-tokenizer makes one; its mass is the sum over its tokens.
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


def text_columns(captions: list[str], tokens: Tokens) -> dict[str, pa.Array]:
    """The controls, and whether the caption was cut."""
    return {
        "n_tokens": pa.array(tokens.n_B.tolist(), pa.int32()),
        "title_case_fraction": pa.array(map(title_case_fraction, captions), pa.float32()),
        "digit_fraction": pa.array(map(digit_fraction, captions), pa.float32()),
        "truncated": pa.array(tokens.truncated, pa.bool_()),
    }
