"""A caption as a report shows it: its words shaded by attention, the trigger words marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.models import tokenize
from scanner.scoring.words import words_in

LEVELS = 4


@dataclass(frozen=True)
class Piece:
    """A stretch of text; ``level`` of attention from 0 to ``LEVELS``, of the caption's most."""

    text: str
    level: int = 0
    trigger: bool = False


def pieces(rows: Sequence[dict[str, Any]], tokenizer: Any | None) -> list[list[Piece]]:
    """Each row's caption in pieces; without a tokenizer, only the trigger words are told apart."""
    captions = [row["caption"] for row in rows]
    if tokenizer is None or not captions:
        return [_cut(row["caption"], _triggers(row, {})) for row in rows]
    tokens = tokenize(tokenizer, captions)
    found = []
    for number, row in enumerate(rows):
        mass = row.get("token_mass") or []
        words = words_in(tokens.spans[number], tokens.words[number], int(tokens.n_B[number]))
        shares = {
            (word.start, word.end): sum(mass[at] for at in word.positions if at < len(mass))
            for word in words
        }
        found.append(_cut(row["caption"], _triggers(row, shares)))
    return found


def _triggers(
    row: dict[str, Any], shares: dict[tuple[int, int], float]
) -> dict[tuple[int, int], tuple[float, bool]]:
    marked = {(word["start"], word["end"]): word["mass"] for word in row["triggers"] or []}
    return {span: (share, span in marked) for span, share in {**marked, **shares}.items()}


def _cut(caption: str, spans: dict[tuple[int, int], tuple[float, bool]]) -> list[Piece]:
    most = max((share for share, _ in spans.values()), default=0.0)
    cut, done = [], 0
    for (start, end), (share, trigger) in sorted(spans.items()):
        if start < done:
            continue
        level = round(LEVELS * share / most) if most > 0 else 0
        cut += [Piece(caption[done:start]), Piece(caption[start:end], level, trigger)]
        done = end
    cut.append(Piece(caption[done:]))
    return [piece for piece in cut if piece.text]
