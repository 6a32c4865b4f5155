"""Count what batches of captions of similar length save, where a model masks padding.

TFLOP per caption of full-size models on the meta device, denoiser and text encoders: with texts
padded to the model's longest, trimmed to the longest caption of each batch in the list's order, in
batches of similar length as scans make them, and each caption alone. Texts are divided by the
testbed's tokenizer, whose vocabulary is small, so they are longer than with the model's own.

Example: python -m jobs.development.text_lengths --captions prompts.txt
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import torch

from jobs.console.terminal import command, show
from scanner.captions.caption_list import read_caption_list
from scanner.errors import UsageError
from scanner.models import DiffusionModel, Tokens
from scanner.models.random.random_weights import chroma, pixart_sigma, qwen_image, sana
from scanner.scoring import Scorer
from scanner.scoring.batch_queue import BatchQueue
from scanner.scoring.cost import ForwardCosts, cost
from scanner.testbed import labels

MODELS = {"PixArt-Σ": pixart_sigma, "Sana 1.6B": sana, "Chroma": chroma, "Qwen-Image": qwen_image}
COLUMNS = (
    *("model", "profile", "positions: median", "longest", "padded", "list order", "by length"),
    *("alone", "saved by sorting"),
)


@dataclass(frozen=True)
class TextLengthsConfig:
    """What to count, at 1024 px."""

    captions: str = ""
    """A list of captions: a table, or text with one caption per line; the testbed's by default."""
    profiles: tuple[str, ...] = ("triage", "standard")
    """Profiles, a row each per model."""
    models: tuple[str, ...] = tuple(MODELS)
    """Models, by their names in the table."""
    batch_size: int = 32
    """Captions per batch."""


def main(arguments: Sequence[str] | None = None) -> int:
    purpose = __doc__
    return command(
        TextLengthsConfig, "jobs.development.text_lengths", purpose, _text_lengths, arguments
    )


def _text_lengths(config: TextLengthsConfig) -> int:
    if config.batch_size < 1:
        raise UsageError(f"--batch-size {config.batch_size}: must be at least 1")
    unknown = [name for name in config.models if name not in MODELS]
    if unknown:
        raise UsageError(f"--models {unknown[0]}: one of {', '.join(MODELS)}")
    captions = labels()["caption"].to_pylist()
    if config.captions:
        _, captions = read_caption_list(config.captions, "--captions", ("caption", "text"))
    name = Path(config.captions).name or "the testbed's"
    show(f"{len(captions):,} captions ({name}), batches of {config.batch_size}\n")
    show(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for title in config.models:
        model = MODELS[title]("bfloat16")
        tokens = model.tokenize(captions)

        @cache
        def costs(
            shape: tuple[int, ...], length: int, model: DiffusionModel = model
        ) -> ForwardCosts:
            return ForwardCosts(model, shape, "cuda", length)

        for profile in config.profiles:
            cells = _cells(Scorer(model, profile), tokens, costs, config.batch_size)
            show(f"| {' | '.join([title, profile, *cells])} |")
    return 0


def _cells(
    scorer: Scorer, tokens: Tokens, costs: Callable[[tuple[int, ...], int], ForwardCosts], size: int
) -> list[str]:
    model = scorer.model

    @cache
    def tflop(length: int) -> float:
        counted = cost(scorer, costs(scorer.latent_shape, length))
        return (counted.per_caption + counted.text_encoder) / 1e3

    def per_caption(batches: Sequence[Tokens]) -> float:
        total = sum(tflop(batch.ids_BL.shape[1]) * len(batch.n_B) for batch in batches)
        return total / sum(len(batch.n_B) for batch in batches)

    def in_order(size: int) -> list[Tokens]:
        starts = range(0, len(tokens.n_B), size)
        return [model.trim(tokens[start : start + size]) for start in starts]

    queue, sorted_batches = BatchQueue(model, scorer.latent_shape, tokens), []
    while queue:
        batch = queue.peek(size)
        sorted_batches.append(batch.tokens)
        queue.drop(batch)
    read_B = model.positions_read(tokens)
    assert read_B is not None, "a family that masks padding"
    by_order, by_length = per_caption(in_order(size)), per_caption(sorted_batches)
    figures = [tflop(tokens.ids_BL.shape[1]), by_order, by_length, per_caption(in_order(1))]
    return [
        f"{median(read_B.tolist()):.0f}",
        f"{int(torch.max(read_B))}",
        *(f"{figure:.2f}" for figure in figures),
        f"{1 - by_length / by_order:.1%}",
    ]


if __name__ == "__main__":
    sys.exit(main())
