"""An actor of a scan starts with the batch size found on its kind of device."""

from pathlib import Path

import pytest
import torch

from scanner.errors import UserError
from scanner.models import ModelFiles, ModelSpec, find_model
from scanner.models.device.device_memory import DeviceMemory
from scanner.scan import work as work_module
from scanner.scan.work import ScanWork, SliceScorer
from scanner.scoring import ScoringSpec
from scanner.scoring.batch_size import BatchSize
from scanner.storage import Store


@pytest.fixture(scope="module")
def model() -> ModelFiles:
    return find_model(ModelSpec("testbed", dtype="float32"))


def _actor(
    run: Path, model: ModelFiles, threads: int | None = None, batch_size: int | None = None
) -> SliceScorer:
    threads = threads or torch.get_num_threads()
    scoring, store = ScoringSpec("triage"), Store(str(run))
    work = ScanWork(store, model.spec, "", "cpu", threads, scoring, batch_size)
    return work.of_files(model)


def _score(actor: SliceScorer) -> None:
    actor.finish(actor.compute(actor.scorer.read(["a red fox", "an old boat"])))


@pytest.fixture(autouse=True)
def _keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_the_next_actor_starts_with_the_size_that_was_found(
    tmp_path: Path, model: ModelFiles
) -> None:
    first = _actor(tmp_path, model)
    first.scorer.batch.size, first.scorer.batch.is_settled = 64, True
    _score(first)
    found = _actor(tmp_path, model).scorer.batch
    assert (found.size, found.is_settled) == (64, True)
    other = _actor(tmp_path, model, threads=torch.get_num_threads() + 1).scorer.batch
    assert not other.is_settled, "another kind of device finds its own size"


@pytest.mark.slow
def test_a_given_batch_size_is_neither_replaced_nor_stored(
    tmp_path: Path, model: ModelFiles
) -> None:
    actor = _actor(tmp_path, model, batch_size=2)
    _score(actor)
    assert not actor.store.exists(actor.size_file)
    assert not _actor(tmp_path, model).scorer.batch.is_settled


@pytest.mark.slow
def test_a_size_halved_by_one_failure_is_not_stored(tmp_path: Path, model: ModelFiles) -> None:
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


def _work(run: Path, name: str = "testbed", **options: str) -> ScanWork:
    spec = ModelSpec(name, dtype="float32")
    weights, threads = find_model(spec).weights_hash(), torch.get_num_threads()
    return ScanWork(
        Store(str(run)), spec, weights, "cpu", threads, ScoringSpec("triage"), None, **options
    )


def _only(monkeypatch: pytest.MonkeyPatch, free: int, total: int | None = None) -> None:
    """Let the machine have so many MiB."""
    memory = DeviceMemory("cpu", free << 20, (total or free) << 20, "cpu")
    monkeypatch.setattr(work_module, "device_memory", lambda device, share: memory)


@pytest.mark.slow
def test_a_small_model_is_not_counted(tmp_path: Path) -> None:
    actor = _work(tmp_path)()
    assert actor.notice == ""
    assert actor.scorer.batch_size == 8


@pytest.mark.slow
def test_the_first_batch_is_one_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, free=17)
    actor = _work(tmp_path)()
    assert 1 <= actor.scorer.batch_size < 8
    assert f"batches of up to {actor.scorer.batch_size} fit" in actor.notice
    assert "weights in float32: 15.3 MiB (unet 10.6 MiB, text_encoder 4.7 MiB)" in actor.notice
    assert "the cpu has 17.0 MiB" in actor.notice


@pytest.mark.slow
def test_a_stored_size_that_does_not_fit_is_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _work(tmp_path)()
    first.scorer.batch.size, first.scorer.batch.is_settled = 64, True
    _score(first)
    _only(monkeypatch, free=17)
    assert _work(tmp_path)().scorer.batch_size < 8


@pytest.mark.slow
def test_a_model_that_never_fits_is_refused_before_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(monkeypatch, free=12)
    loaded: list[str] = []
    load = work_module.load_model
    monkeypatch.setattr(
        work_module,
        "load_model",
        lambda files, device, **options: (
            loaded.append(device) or load(files, device=device, **options)
        ),
    )
    with pytest.raises(UserError, match=r"testbed: the model does not fit the cpu.*--dtype"):
        _work(tmp_path)()
    assert loaded == ["meta"]


@pytest.mark.slow
def test_memory_in_use_delays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, free=5, total=100)
    assert _work(tmp_path)().scorer.batch_size == 1


@pytest.mark.slow
def test_parts_are_offloaded_by_option(tmp_path: Path) -> None:
    placed = {"text_encoders": "offload", "denoiser": "offload"}
    offloading = _work(tmp_path, "testbed-dit", **placed)()
    plain = _work(tmp_path, "testbed-dit")()
    encoder = offloading.scorer.model.text_encoders["text_encoder"]
    assert all(weight.is_meta for weight in encoder.parameters())
    assert offloading.scorer.model.is_offloaded
    assert "the text encoders and the denoiser are offloaded" in offloading.notice
    assert offloading.scorer.encode_ahead > 0
    captions = ["a red fox", "an old boat"]
    assert offloading.scorer.score(captions) == plain.scorer.score(captions)
    assert offloading.scorer.fingerprint == plain.scorer.fingerprint


@pytest.mark.slow
def test_a_unet_is_not_offloaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--denoiser offload is for transformers"):
        _work(tmp_path, denoiser="offload")()
