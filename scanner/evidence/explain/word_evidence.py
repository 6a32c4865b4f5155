"""Attribute the signals to words: by attention, by gradient, and by ablation."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.models import Tokens
from scanner.scoring.words import Word, words_in


@dataclass(frozen=True)
class WordEvidence:
    """A word of the caption, with the evidence that it is a trigger word.

    ``start``, ``end``: character range in the caption (end excluded). ``positions``: its tokens.
    ``attention``: share of the early layers' attention at step 0. ``lift``: attention divided by
    the mean attention per prompt token. ``trigger``: whether it is among the scores' ``triggers``.
    ``gradient``: sum of ``token_gradient`` over its tokens. ``ablated_scores``: scores of the
    caption without the word.
    """

    text: str
    start: int
    end: int
    positions: tuple[int, ...]
    attention: float
    lift: float
    trigger: bool
    gradient: float
    ablated_scores: dict[str, float]


def ablate_word(caption: str, word: Word) -> str:
    """Return the caption without a word, and without the double space this would leave."""
    before, after = caption[: word.start], caption[word.end :]
    if before.endswith(" ") and (not after or after.startswith(" ")):
        before = before[:-1]
    return (before + after).strip()


def split_words(tokens: Tokens) -> list[Word]:
    """Return the words of the only caption in a batch."""
    return words_in(tokens.spans[0], tokens.words[0], int(tokens.n_B[0]), tokens.begins)


def attribute_to_words(
    caption: str, words: list[Word], row: dict[str, Any], gradient: list[float], ablated: pa.Table
) -> list[WordEvidence]:
    """Collect the evidence per word. ``row``: the caption's scores; ``gradient``: per token
    position; ``ablated``: one row of scores per word, of the caption without it, with these columns
    only."""
    mass = row["token_mass"]
    mean = sum(mass[1:-1]) / max(1, len(mass) - 2)
    triggers = {trigger["start"] for trigger in row["triggers"]}
    evidence = []
    for word, scores in zip(words, ablated.to_pylist(), strict=True):
        attention = sum(mass[position] for position in word.positions)
        evidence.append(
            WordEvidence(
                text=caption[word.start : word.end],
                start=word.start,
                end=word.end,
                positions=word.positions,
                attention=attention,
                lift=attention / mean if mean > 0 else 0.0,
                trigger=word.start in triggers,
                gradient=sum(gradient[position] for position in word.positions),
                ablated_scores=scores,
            )
        )
    return evidence
