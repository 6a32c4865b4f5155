"""What happens while the hub is down when a model is downloaded from it."""

import pickle
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import RayTaskError

from scanner.cluster.failures import cause_of, is_outage
from scanner.errors import UserError
from scanner.models import find_model, load_model
from scanner.models.families.registry import FAMILIES
from scanner.models.files.fetching import fetch_configuration, fetch_weights
from scanner.storage import is_transient
from tests.hub import REVISION, Hub, serving

MODEL = "someone/small"
LASTING = 10_000  # answers, more than are requested during a test


@pytest.fixture
def hub(
    random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    shutil.copytree(random_models["sd1"], tmp_path / "hub" / MODEL)
    # Its client waits 23 seconds between the five retries of a request.
    without_waits = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
    monkeypatch.setattr("huggingface_hub.utils._http.time", without_waits)
    with serving(tmp_path / "hub", tmp_path / "home", monkeypatch) as hub:
        yield hub


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "failing"),
    [(503, "/"), (429, "/api/"), ("drop", "/api/"), (500, ".safetensors"), ("drop", ".json")],
    ids=str,
)
def test_a_model_loads_after_an_outage(
    hub: Hub, random_models: dict[str, Path], bad: int | str, failing: str
) -> None:
    hub.bad, hub.failing = [bad] * 2, failing
    files = find_model(MODEL)
    assert hub.bad == []
    assert files.spec.revision == REVISION
    assert load_model(files).weights == find_model(str(random_models["sd1"])).weights_hash()


def _refuse_in_actor(error: UserError) -> None:
    """Check that an actor's start that fails with this error counts as an outage."""
    assert is_transient(pickle.loads(pickle.dumps(error)))
    assert is_outage(
        cause_of(RayTaskError("start", "traceback", pickle.loads(pickle.dumps(error))))
    )


@pytest.mark.parametrize("bad", [503, 429, "drop"])
def test_a_lasting_outage_stays_one_across_processes(hub: Hub, bad: int | str) -> None:
    hub.bad = [bad] * LASTING
    with pytest.raises(UserError, match="cannot be downloaded from the hub") as caught:
        fetch_configuration(MODEL, retry_seconds=0)
    _refuse_in_actor(caught.value)


@pytest.mark.parametrize("bad", [503, "drop"])
def test_an_outage_between_files_is_not_a_missing_file(
    hub: Hub, bad: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions of the client that remember no listing return the files that they have."""
    folder, revision = fetch_configuration(MODEL)
    monkeypatch.setattr("huggingface_hub._snapshot_download.read_tree_cache", lambda *_: None)
    hub.bad = [bad] * LASTING
    parts = FAMILIES["StableDiffusionPipeline"].parts
    with pytest.raises(UserError, match="cannot be downloaded from the hub") as caught:
        fetch_weights(MODEL, folder, revision, parts, retry_seconds=0)
    _refuse_in_actor(caught.value)


@pytest.mark.parametrize(("status", "words"), [(404, "404"), (401, "401"), (403, "403")])
def test_a_refusal_by_the_hub_is_not_an_outage(hub: Hub, status: int, words: str) -> None:
    hub.bad = [status] * LASTING
    with pytest.raises(UserError, match=words) as caught:
        fetch_configuration(MODEL)
    assert not is_transient(caught.value)


def test_offline_mode_is_not_an_outage(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be downloaded from the hub") as caught:
        fetch_configuration(MODEL)
    assert not is_transient(caught.value)
