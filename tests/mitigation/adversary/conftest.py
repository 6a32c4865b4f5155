"""Adversaries of small random pipelines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scanner.mitigation.adversary.options import AdversaryOptions
from scanner.mitigation.adversary.search import Adversary
from scanner.models import find_model
from scanner.models.encoding import load_encoder
from scanner.models.pipeline import load_pipeline, model_of

CAPTIONS = ["a red apple on a table", "the quick brown fox, twice"]
GUIDANCE = 3.0

MakeAdversary = Callable[..., Adversary]


@pytest.fixture
def make_adversary(
    random_models: dict[str, Path], random_transformers: dict[str, Path]
) -> MakeAdversary:
    """Make the adversary of a kind of pipeline."""

    def make(kind: str, generate: Any = None, batch_size: int = 16, **options: Any) -> Adversary:
        files = find_model(str({**random_models, **random_transformers}[kind]))
        pipe = load_pipeline(files, "float32", "cpu")
        return Adversary(
            model_of(files, pipe, ""),
            pipe,
            generate(pipe) if generate else pipe,
            load_encoder(files, "cpu"),
            AdversaryOptions(**options),
            GUIDANCE,
            batch_size,
        )

    return make


@pytest.fixture
def images_GCHW() -> Callable[[Adversary], torch.Tensor]:
    """Make an image per caption, of an adversary's size."""

    def make(adversary: Adversary) -> torch.Tensor:
        random = torch.Generator().manual_seed(7)
        return torch.rand((len(CAPTIONS), 3, *adversary.size), generator=random) * 2 - 1

    return make
