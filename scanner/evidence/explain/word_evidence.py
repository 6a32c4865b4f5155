"""Which words the signals blame: by attention, by gradient, and by leaving each one out."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.evidence.explain.scores import SCORES
from scanner.models import Tokens
from scanner.scoring.words import Word, words_in


@dataclass(frozen=True)
class WordEvidence:
    """A word of the caption and what speaks for its being the trigger.

    start, end: its characters in the caption (end excluded). positions: its tokens. attention:
    the early layers' attention on it at step 0, a share. lift: that over the mean of a prompt
    token. trigger: among the score table's ``triggers``. gradient: the sum of its tokens'
    ``token_gradient``. without: the scores of the caption without it.
    """

    text: str
    start: int
    end: int
    positions: tuple[int, ...]
    attention: float
    lift: float
    trigger: bool
    gradient: float
    without: dict[str, float]


def left_out(caption: str, word: Word) -> str:
    """The caption without a word, and without the double space that would be left."""
    before, after = caption[: word.start], caption[word.end :]
    if before.endswith(" ") and (not after or after.startswith(" ")):
        before = before[:-1]
    return (before + after).strip()


def words_of(tokens: Tokens) -> list[Word]:
    """The words of a batch of one."""
    return words_in(tokens.spans[0], tokens.words[0], int(tokens.n_B[0]))


def evidence(
    caption: str, words: list[Word], row: dict[str, Any], gradient: list[float], variants: pa.Table
) -> list[WordEvidence]:
    """``row``: the caption's scores; ``gradient``: of each position; ``variants``: a row of scores
    for the caption without each word."""
    mass = row["token_mass"]
    mean = sum(mass[1:-1]) / max(1, len(mass) - 2)
    triggers = {trigger["start"] for trigger in row["triggers"]}
    found = []
    for word, scores in zip(words, variants.select(SCORES).to_pylist(), strict=True):
        attention = sum(mass[position] for position in word.positions)
        found.append(
            WordEvidence(
                text=caption[word.start : word.end],
                start=word.start,
                end=word.end,
                positions=word.positions,
                attention=attention,
                lift=attention / mean if mean > 0 else 0.0,
                trigger=word.start in triggers,
                gradient=sum(gradient[position] for position in word.positions),
                without=scores,
            )
        )
    return found
