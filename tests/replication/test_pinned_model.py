"""Weights are pinned on first use, and refused once they have changed."""

import shutil
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.replication.config import ReplicateConfig
from scanner.replication.lock import FILE, read_lock
from scanner.replication.running import pinned_model
from scanner.storage import Store
from tests.hub import REVISION, serving
from tests.random_pipelines import make_random_pipeline

MODEL = "someone/small"


@pytest.mark.slow
def test_weights_are_pinned_and_refused_if_changed(
    random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "out"))
    config = ReplicateConfig(model="sd14", weights=MODEL, out=str(tmp_path / "out"))
    hosted = tmp_path / "hub" / MODEL
    shutil.copytree(random_models["sd1"], hosted)
    with serving(tmp_path / "hub", tmp_path / "home", monkeypatch):
        files = pinned_model(config, store)
    locked = read_lock(store).model
    assert locked is not None
    assert (locked.name, locked.revision) == (MODEL, REVISION)
    assert locked.weights == files.weights_hash()
    pipe = make_random_pipeline("sd1")
    pipe.unet.conv_in.bias.data += 1
    pipe.save_pretrained(hosted)
    with (
        serving(tmp_path / "hub", tmp_path / "home", monkeypatch) as hub,
        pytest.MonkeyPatch.context() as cache,
    ):
        cache.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other"))
        cache.setenv("HF_HUB_CACHE", str(tmp_path / "other"))
        with pytest.raises(UserError, match=r"hash of the weights .* have changed since"):
            pinned_model(config, store)
        assert hub.downloads(".safetensors")


def test_a_damaged_lock_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write(FILE, b'{"lists": {}, "model": 3}')
    with pytest.raises(UserError, match=r"lock.json is damaged .*model.*restore it, or remove it"):
        read_lock(store)
