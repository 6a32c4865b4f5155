"""The words of a caption, as split by the tokenizer's pre-tokenizer.

A word consists of one or more tokens.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """Characters ``start`` to ``end`` (exclusive) of a caption, and their text positions."""

    start: int
    end: int
    positions: tuple[int, ...]


def words_in(
    spans: list[tuple[int, int]], numbers: list[int | None], n: int, begins: int = 1
) -> list[Word]:
    """Return the words that a model encodes, in order.

    ``spans``, ``numbers``: character span and word number (None for special tokens) of each text
    position, as in Tokens. ``n``: number of tokens including the beginning and end tokens.
    ``begins``: how many positions precede the words.
    """
    positions: dict[int, list[int]] = {}
    for position in range(begins, n - 1):
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
