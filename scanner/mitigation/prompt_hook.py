"""Hook a pipeline's prompt encoding to learn which caption each row of its forwards belongs to."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from scanner.models.pipeline import replaced
from scanner.models.tokens import tokenize

NEGATIVE = ("negative_prompt", "negative_prompt_2", "negative_prompt_3")


@dataclass(frozen=True)
class PromptRows:
    """The N rows of one generation: captions times images per caption.

    ``length``: text positions. ``images``: consecutive rows per caption. ``n_N``: number of tokens
    of each row's caption including BOS and the first EOS; None if the pipeline was given
    embeddings. ``negative``: whether guidance uses a negative prompt instead of the empty caption.
    ``has_t5``: whether the text of CLIP is followed by that of T5, of which ``of_t5_NL`` are the
    positions with tokens (None if the pipeline was given embeddings).
    """

    count: int
    length: int
    images: int
    n_N: Tensor | None
    negative: bool
    has_t5: bool = False
    of_t5_NL: Tensor | None = None


@contextmanager
def hook_prompts(pipe: Any, on_encode: Callable[[PromptRows], None]) -> Iterator[None]:
    """Call ``on_encode`` whenever the pipeline encodes a prompt within this context.

    Wraps ``encode_prompt`` of this pipeline instance, and restores it on exit.
    """
    original = pipe.encode_prompt
    signature = inspect.signature(original)

    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        embeddings = original(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        on_encode(_rows(pipe, bound.arguments, embeddings[0]))
        return embeddings

    with replaced(pipe, "encode_prompt", encode_prompt):
        yield


def _rows(pipe: Any, arguments: dict[str, Any], hidden_NLC: Tensor) -> PromptRows:
    images = arguments.get("num_images_per_prompt") or 1
    texts: list[tuple[str, str | Sequence[str]]] = []
    if arguments.get("prompt") is not None and arguments.get("prompt_embeds") is None:
        texts.append(("tokenizer", arguments["prompt"]))
        if arguments.get("prompt_2"):
            texts.append(("tokenizer_2", arguments["prompt_2"]))
    counts = [_count_tokens(pipe, name, text) for name, text in texts]
    n_N = torch.stack(counts).amax(0).repeat_interleave(images) if counts else None
    negative = any(
        value not in (None, "") and set(value) != {""} for value in map(arguments.get, NEGATIVE)
    )
    negative |= arguments.get("negative_prompt_embeds") is not None
    length = hidden_NLC.shape[1]
    has_t5 = getattr(pipe, "text_encoder_3", None) is not None
    of_t5_NL = None
    if has_t5 and texts:
        third = arguments.get("prompt_3") or arguments["prompt"]
        read_NL = _read_by_t5(pipe, third, arguments["max_sequence_length"])
        first = length - read_NL.shape[1]
        of_t5_NL = pad(read_NL, (first, 0)).repeat_interleave(images, 0)
    return PromptRows(len(hidden_NLC), length, images, n_N, negative, has_t5, of_t5_NL)


def _read_by_t5(pipe: Any, text: str | Sequence[str], length: int) -> Tensor:
    """Return which of T5's positions hold tokens, its end token included (captions, length)."""
    captions = [text] if isinstance(text, str) else list(text)
    batch = pipe.tokenizer_3(captions, padding="max_length", truncation=True, max_length=length)
    return torch.tensor(batch["attention_mask"]).bool()


def _count_tokens(pipe: Any, name: str, text: str | Sequence[str]) -> Tensor:
    """Count tokens per caption (captions,) with the pipeline's tokenizer and textual inversions."""
    tokenizer = getattr(pipe, name)
    captions = [text] if isinstance(text, str) else list(text)
    if hasattr(pipe, "maybe_convert_prompt"):
        captions = [pipe.maybe_convert_prompt(caption, tokenizer) for caption in captions]
    return tokenize(tokenizer, captions).n_B
