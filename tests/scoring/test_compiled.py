"""Compiled scoring: fixed shapes, padded last batches, and the same scores."""

from pathlib import Path

import pytest
import torch

from scanner.models import DiffusionModel, load_model
from scanner.probe import CompiledDenoiser
from scanner.scoring import Scorer
from scanner.scoring.scorer import COMPILE_AFTER
from tests.scoring.test_scorer import CAPTIONS, assert_same_scores


@pytest.fixture(autouse=True)
def _forget() -> None:
    torch.compiler.reset()


def compiling(model: DiffusionModel, profile: str = "standard", **options: int) -> Scorer:
    """Return a scorer that compiles, without generating machine code."""
    scorer = Scorer(model, profile, compile=True, **options)
    scorer.forwards.backend = "eager"
    return scorer


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows of each compiled batch."""
    batch_rows: list[int] = []
    call = CompiledDenoiser.__call__

    def counted(self, hidden, added):
        batch_rows.append(len(hidden))
        return call(self, hidden, added)

    monkeypatch.setattr(CompiledDenoiser, "__call__", counted)
    return batch_rows


@pytest.mark.slow
def test_padded_compiled_batches_give_the_plain_scores(
    random_models: dict[str, Path], rows: list[int]
) -> None:
    model = load_model(str(random_models["sdxl"]))
    plain = Scorer(model, seeds=2, batch_size=3).score(CAPTIONS)
    assert rows == [], "a CPU compiles only on request"
    padded = compiling(model, seeds=2, batch_size=3).score(CAPTIONS)
    assert_same_scores(plain, padded)
    assert rows == [3] * 12, "8 captions in batches of 3, for 2 seeds and 2 noise levels"


@pytest.mark.slow
def test_nothing_is_compiled_while_the_batch_size_is_tuned(
    random_models: dict[str, Path], rows: list[int]
) -> None:
    scorer = compiling(load_model(str(random_models["sd1"])), "triage")
    scorer.score(CAPTIONS)
    assert not scorer.batch.is_settled
    assert rows == []
    scorer.batch.size, scorer.batch.is_settled = 4, True
    scorer.score(CAPTIONS)
    assert rows == [4, 4]


@pytest.mark.slow
def test_by_default_a_gpu_compiles_only_long_scans(
    random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(random_models["sd1"]))
    scorer = Scorer(model, "triage", batch_size=4)
    for _ in range(COMPILE_AFTER - 1):
        scorer.score(["a cat"] * 4)
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    assert not scorer._compiles(77)
    monkeypatch.undo()
    scorer.score(["a cat"] * 4)
    assert not scorer._compiles(77), "on a CPU never"
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    assert scorer._compiles(77)
    assert not scorer._compiles(64), "texts of another length"
