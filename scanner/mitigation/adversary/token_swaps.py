"""Replace words of a caption by others that are near in the text encoder's token embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scanner.models import DiffusionModel, Tokens

WORD_END = "</w>"
"""What CLIP's vocabulary marks the last token of a word with."""


@dataclass(frozen=True)
class Swap:
    """A word's place in a caption (``start`` to ``end``, in characters), the word to put there, and
    the cosine similarity of both tokens."""

    start: int
    end: int
    word: str
    similarity: float

    def apply(self, caption: str) -> str:
        old = caption[self.start : self.end]
        word = self.word.capitalize() if old[:1].isupper() else self.word
        return caption[: self.start] + word + caption[self.end :]


class Vocabulary:
    """The words that are one token of a CLIP tokenizer, with unit vectors of their embeddings."""

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        words = {
            number: token.removesuffix(WORD_END)
            for token, number in tokenizer.get_vocab().items()
            if token.endswith(WORD_END) and _is_word(token.removesuffix(WORD_END))
        }
        self.words = dict(sorted(words.items()))
        table = encoder.get_input_embeddings().weight.detach().float()
        self._ids = torch.tensor([*self.words], device=table.device)
        self._unit = torch.nn.functional.normalize(table[self._ids].clone(), dim=1)
        self._row = {number: row for row, number in enumerate(self.words)}

    def nearest(self, token: int, count: int) -> list[tuple[str, float]]:
        """Return the most similar other words and their cosine similarities, nearest first."""
        similarity = self._unit @ self._unit[self._row[token]]
        similarity[self._row[token]] = -1
        values, rows = similarity.topk(min(count, len(similarity) - 1))
        names = [self.words[int(self._ids[row])] for row in rows]
        return list(zip(names, values.tolist(), strict=True))

    def __contains__(self, token: int) -> bool:
        return token in self._row


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalpha()


def candidates(
    caption: str, tokens: Tokens, vocabulary: Vocabulary, neighbors: int, used: frozenset[int]
) -> list[Swap]:
    """Return the swaps of a caption's words of one token, of the most similar words first.

    ``tokens``: the caption's; ``used``: positions that keep their word.
    """
    found = []
    words = tokens.words[0]
    for position in range(1, int(tokens.n_B[0]) - 1):
        token, (start, end) = int(tokens.ids_BL[0, position]), tokens.spans[0][position]
        is_whole = words.count(words[position]) == 1 and _is_word(caption[start:end])
        if is_whole and position not in used and token in vocabulary:
            near = vocabulary.nearest(token, neighbors)
            found += [Swap(start, end, word, similarity) for word, similarity in near]
    return sorted(found, key=lambda swap: -swap.similarity)


def search_swaps(
    model: DiffusionModel,
    caption: str,
    vocabulary: Vocabulary,
    errors: Callable[[list[str]], Tensor],
    swaps: int,
    neighbors: int,
    most: int,
) -> tuple[str, float] | None:
    """Return the caption with up to ``swaps`` words replaced, and its error; None if no replacement
    has a lower error than the caption itself.

    Greedy: of at most ``most`` captions that differ in one word, keeps the one with the lowest
    error, and replaces another word of it. ``errors``: of captions, 1 for the given one.
    """
    best, lowest, used = caption, 1.0, frozenset[int]()
    for _ in range(swaps):
        tokens = model.tokenize([best])
        tried = candidates(best, tokens, vocabulary, neighbors, used)[:most]
        texts = _read_as_one_token(model, best, tokens, tried)
        if not texts:
            break
        error_T = errors([text for text, _ in texts])
        first = int(error_T.argmin())
        if float(error_T[first]) >= lowest:
            break
        lowest = float(error_T[first])
        best, position = texts[first]
        used |= {position}
    return None if best == caption else (best, lowest)


def _read_as_one_token(
    model: DiffusionModel, caption: str, tokens: Tokens, tried: list[Swap]
) -> list[tuple[str, int]]:
    """Return the captions of swaps that change one token, and its position: what a tokenizer reads
    may differ from what was put there."""
    if not tried:
        return []
    texts = [swap.apply(caption) for swap in tried]
    differs_TL = model.tokenize(texts).ids_BL != tokens.ids_BL
    return [
        (text, int(differs.nonzero()[0]))
        for text, differs in zip(texts, differs_TL, strict=True)
        if int(differs.sum()) == 1
    ]
