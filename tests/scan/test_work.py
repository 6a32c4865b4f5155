"""An actor of a scan starts with the batch size found on its kind of device."""

from pathlib import Path

import pytest
import torch

from scanner.models import DiffusionModel, ModelSpec, load_model
from scanner.scan.work import ScanWork, SliceScorer
from scanner.scoring import ScoringSpec
from scanner.scoring.batch_size import BatchSize
from scanner.storage import Store


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return load_model("testbed", device="cpu")


def _actor(
    run: Path, model: DiffusionModel, threads: int | None = None, batch_size: int | None = None
) -> SliceScorer:
    threads = threads or torch.get_num_threads()
    scoring, store = ScoringSpec("triage"), Store(str(run))
    work = ScanWork(store, ModelSpec("testbed"), "", "cpu", threads, scoring, batch_size)
    return work.with_model(model)


def _score(actor: SliceScorer) -> None:
    actor.finish(actor.compute(actor.scorer.read(["a red fox", "an old boat"])))


@pytest.fixture(autouse=True)
def _keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_next_actor_starts_with_the_size_that_was_found(
    tmp_path: Path, model: DiffusionModel
) -> None:
    first = _actor(tmp_path, model)
    first.scorer.batch.size, first.scorer.batch.is_settled = 64, True
    _score(first)
    found = _actor(tmp_path, model).scorer.batch
    assert (found.size, found.is_settled) == (64, True)
    other = _actor(tmp_path, model, threads=torch.get_num_threads() + 1).scorer.batch
    assert not other.is_settled, "another kind of device finds its own size"


def test_a_given_batch_size_is_neither_replaced_nor_stored(
    tmp_path: Path, model: DiffusionModel
) -> None:
    actor = _actor(tmp_path, model, batch_size=2)
    _score(actor)
    assert not actor.store.exists(actor.size_file)
    assert not _actor(tmp_path, model).scorer.batch.is_settled


def test_a_size_halved_by_one_failure_is_not_stored(tmp_path: Path, model: DiffusionModel) -> None:
    actor = _actor(tmp_path, model)
    batch: BatchSize = actor.scorer.batch
    batch.size = 4
    batch.halve()
    _score(actor)
    assert not actor.store.exists(actor.size_file), "the larger size will be tried again"
    batch.size = 4
    batch.halve()
    _score(actor)
    assert _actor(tmp_path, model).scorer.batch.size == 2
