"""Learn from a pipeline which captions the rows of its forwards belong to."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scanner.models.tokens import tokenize


@dataclass(frozen=True)
class Rows:
    """What one generation is about: N rows, captions times images a caption.

    n_N: tokens of each row's caption with the beginning and the first end token; None where the
    pipeline was given embeddings. length: text positions. images: rows a caption, one after
    another. negative: whether guidance is away from a negative prompt, not from the empty caption.
    """

    count: int
    length: int
    images: int
    n_N: Tensor | None
    negative: bool


@contextmanager
def listen(pipe: Any, heard: Callable[[Rows], None]) -> Iterator[None]:
    """Within this context ``heard`` is told of every text that the pipeline encodes.

    Wraps ``encode_prompt`` of this one pipeline; on leaving it has its own back.
    """
    original = pipe.encode_prompt
    signature = inspect.signature(original)

    @functools.wraps(original)
    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        told = original(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        heard(_rows(pipe, given.arguments, told[0]))
        return told

    own = vars(pipe).get("encode_prompt")
    pipe.encode_prompt = encode_prompt
    try:
        yield
    finally:
        if own is None:
            del pipe.encode_prompt
        else:
            pipe.encode_prompt = own


def _rows(pipe: Any, given: dict[str, Any], hidden_NLC: Tensor) -> Rows:
    images = given.get("num_images_per_prompt") or 1
    texts: list[tuple[str, str | Sequence[str]]] = []
    if given.get("prompt") is not None and given.get("prompt_embeds") is None:
        texts.append(("tokenizer", given["prompt"]))
        if given.get("prompt_2"):
            texts.append(("tokenizer_2", given["prompt_2"]))
    counts = [_counts(pipe, name, text) for name, text in texts]
    n_N = torch.stack(counts).amax(0).repeat_interleave(images) if counts else None
    negative = any(
        value not in (None, "") and set(value) != {""}
        for value in (given.get("negative_prompt"), given.get("negative_prompt_2"))
    )
    negative |= given.get("negative_prompt_embeds") is not None
    return Rows(len(hidden_NLC), hidden_NLC.shape[1], images, n_N, negative)


def _counts(pipe: Any, name: str, text: str | Sequence[str]) -> Tensor:
    """(captions,): tokens as the pipeline's own tokenizer reads them, textual inversions too."""
    tokenizer = getattr(pipe, name)
    captions = [text] if isinstance(text, str) else list(text)
    if hasattr(pipe, "maybe_convert_prompt"):
        captions = [pipe.maybe_convert_prompt(caption, tokenizer) for caption in captions]
    return tokenize(tokenizer, captions).n_B
