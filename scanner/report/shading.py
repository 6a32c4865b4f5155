"""Cut captions into spans of text, shaded by attention, with trigger words marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.models import tokenize
from scanner.scoring.words import words_in

LEVELS = 4


@dataclass(frozen=True)
class TextSpan:
    """A span of a caption. ``level``: attention from 0 to ``LEVELS``, relative to the caption's
    highest; ``trigger``: whether it is a trigger word."""

    text: str
    level: int = 0
    trigger: bool = False


def shade_captions(rows: Sequence[dict[str, Any]], tokenizer: Any | None) -> list[list[TextSpan]]:
    """Cut each row's caption into spans. Without a tokenizer only trigger words are shaded."""
    captions = [row["caption"] for row in rows]
    if tokenizer is None or not captions:
        return [_cut(row["caption"], _shares(row, {})) for row in rows]
    tokens = tokenize(tokenizer, captions)
    shaded = []
    for number, row in enumerate(rows):
        mass = row.get("token_mass") or []
        words = words_in(
            tokens.spans[number], tokens.words[number], int(tokens.n_B[number]), tokens.begins
        )
        by_word = {
            (word.start, word.end): sum(mass[at] for at in word.positions if at < len(mass))
            for word in words
        }
        shaded.append(_cut(row["caption"], _shares(row, by_word)))
    return shaded


def _shares(
    row: dict[str, Any], by_word: dict[tuple[int, int], float]
) -> dict[tuple[int, int], tuple[float, bool]]:
    """Return each word's attention, and whether it is a trigger word, by (start, end)."""
    triggers = {(word["start"], word["end"]): word["mass"] for word in row["triggers"] or []}
    shares = {**triggers, **by_word}
    return {position: (share, position in triggers) for position, share in shares.items()}


def _cut(caption: str, shares: dict[tuple[int, int], tuple[float, bool]]) -> list[TextSpan]:
    highest = max((share for share, _ in shares.values()), default=0.0)
    spans, done = [], 0
    for (start, end), (share, trigger) in sorted(shares.items()):
        if start < done:
            continue
        level = round(LEVELS * share / highest) if highest > 0 else 0
        spans += [TextSpan(caption[done:start]), TextSpan(caption[start:end], level, trigger)]
        done = end
    spans.append(TextSpan(caption[done:]))
    return [span for span in spans if span.text]
