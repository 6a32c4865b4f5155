"""Captions of similar length share a batch where padding is masked, and each runs once."""

from pathlib import Path

import pytest
import torch

from scanner.models import DiffusionModel, load_model
from scanner.scoring import Scorer
from scanner.scoring.batch_queue import BatchQueue, CaptionBatch
from tests.random_families import FAMILIES
from tests.scoring.test_scorer import assert_same_scores

WORDS = (1, 70, 2, 270, 3, 4, 140, 5, 6, 7, 8)
CAPTIONS = ["word " * words + str(words) for words in WORDS]
SIZE = {"height": 64, "width": 64}


@pytest.fixture(scope="module")
def model(random_families: dict[str, Path]) -> DiffusionModel:
    return load_model(str(random_families["pixart-sigma"]), "float32", "cpu")


def _batches(queue: BatchQueue, size: int, mixed: bool = False) -> list[CaptionBatch]:
    found = []
    while queue:
        found.append(queue.peek(size, mixed))
        assert len(found) <= len(CAPTIONS)
        queue.drop(found[-1])
    return found


def _widths(batches: list[CaptionBatch]) -> list[int]:
    return [batch.tokens.ids_BL.shape[1] for batch in batches]


@pytest.mark.parametrize("ahead", [0, 6, 100])
def test_long_captions_come_first_together(model: DiffusionModel, ahead: int) -> None:
    tokens = model.tokenize(CAPTIONS)
    whole = tokens.ids_BL.shape[1]
    batches = _batches(BatchQueue(model, model.latent_shape(64, 64), tokens, ahead), 3)
    longest = [max(WORDS[number] for number in batch.numbers_B) for batch in batches]
    assert longest == sorted(WORDS, reverse=True)[::3]
    assert sorted(torch.cat([batch.numbers_B for batch in batches]).tolist()) == [*range(11)]
    assert _widths(batches)[0] == whole
    if ahead:
        texts = [batch.text.hidden_BLC.shape for batch in batches if batch.text]
        assert [shape[1] for shape in texts] == _widths(batches)[: len(texts)]
        assert len(texts) == 4
    else:
        assert _widths(batches)[1:] == [64] * 3
        assert _widths(_batches(BatchQueue(model, (), tokens[:3]), 1)) == [128, 64, 64]


def test_batches_that_are_compared_are_of_all_lengths(model: DiffusionModel) -> None:
    queue = BatchQueue(model, (), model.tokenize(CAPTIONS))
    batches = _batches(queue, 4, mixed=True)
    assert _widths(batches[:2]) == [300, 192]
    assert sorted(torch.cat([batch.numbers_B for batch in batches]).tolist()) == [*range(11)]


def test_the_table_keeps_the_order_of_captions(model: DiffusionModel) -> None:
    table = Scorer(model, batch_size=3, **SIZE).score(CAPTIONS)
    alone = Scorer(model, batch_size=1, **SIZE)
    for number in (0, 1, 3, 10):
        assert_same_scores(table.slice(number, 1), alone.score([CAPTIONS[number]]))
    assert table["n_tokens"].to_pylist() == model.tokenize(CAPTIONS).n_B.tolist()


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_that_trims_sorts(random_families: dict[str, Path], kind: str) -> None:
    model = load_model(str(random_families[kind]), "float32", "meta")
    assert type(model).trim is DiffusionModel.trim, "define positions_read instead"
    tokens = model.tokenize(["a red apple"])
    is_trimmed = model.trim(tokens).ids_BL.shape != tokens.ids_BL.shape
    assert (model.positions_read(tokens) is not None) == is_trimmed
