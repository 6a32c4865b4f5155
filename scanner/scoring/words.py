"""The words of a caption.

A word is what the tokenizer's pre-tokenizer makes one, of one token or several.
"""

from dataclasses import dataclass


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
