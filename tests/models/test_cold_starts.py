"""Model files arrive once per node, and are hashed once, however many processes start."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scanner.models import find_model
from scanner.models.files.hash_cache import remembered_hash
from scanner.storage import Store
from tests.hub import REVISION, Hub, serving
from tests.models.cold_start import PROCESSES

MODEL = "someone/small"
# Far longer than it takes on a busy machine: only what never ends takes this.
LIMIT_SECONDS = 600.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def hub(
    random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    shutil.copytree(random_models["sd1"], tmp_path / "hub" / MODEL)
    with serving(tmp_path / "hub", tmp_path / "home", monkeypatch) as hub:
        yield hub


def _start_together(*model: str) -> list[tuple[str, bool, bool]]:
    """Return what each process of :mod:`tests.models.cold_start` returns."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    script = ROOT / "tests" / "models" / "cold_start.py"
    done = subprocess.run(
        [sys.executable, str(script), *model],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
    )
    found = [tuple(each) for each in json.loads(done.stdout)]
    assert len(found) == PROCESSES
    return found


@pytest.mark.slow
def test_processes_that_start_together_download_and_hash_once(
    hub: Hub, random_models: dict[str, Path]
) -> None:
    found = _start_together(MODEL, REVISION)
    assert {weights for weights, _, _ in found} == {
        find_model(str(random_models["sd1"])).weights_hash()
    }
    assert sum(is_read for _, is_read, _ in found) == 1
    assert len(hub.downloads(".safetensors")) == 2
    assert len([one for one in hub.requests if "/api/" in one and "/tree/" in one]) == 1


@pytest.mark.slow
def test_a_model_in_a_store_is_downloaded_and_hashed_once(
    random_models: dict[str, Path], s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = Store(f"{s3}/cold/model")
    for path in random_models["sd1"].rglob("*"):
        if path.is_file():
            store.upload(path, str(path.relative_to(random_models["sd1"])))
    found = _start_together(f"{s3}/cold/model")
    assert len({weights for weights, _, _ in found}) == 1
    assert [sum(each) for each in zip(*(one[1:] for one in found), strict=True)] == [1, 1]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    return path


def _hash(path: Path, hashed: list[str], settings: str = "", marker_bytes: int = 0) -> str:
    """Return the hash of a file, and add to ``hashed`` if it was computed."""

    def compute() -> str:
        hashed.append(path.read_text())
        return hashlib.sha256(path.read_bytes()).hexdigest()

    return remembered_hash(settings, [path], compute, marker_bytes)


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def _overwrite(path: Path) -> None:
    """With the size and the time of modification that it had."""
    times = path.stat()
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    "change", [_touch, _overwrite, lambda path: path.write_bytes(b"longer weights")]
)
def test_a_marker_of_a_changed_file_is_not_trusted(
    weights: Path, change: Callable[[Path], object]
) -> None:
    hashed: list[str] = []
    first = _hash(weights, hashed)
    assert _hash(weights, hashed) == first
    assert len(hashed) == 1
    change(weights)
    now = _hash(weights, hashed)
    assert len(hashed) == 2
    assert now == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_marker_is_of_the_settings_too(weights: Path) -> None:
    hashed: list[str] = []
    for settings in ("a scale of 1", "a scale of 2", "a scale of 1"):
        _hash(weights, hashed, settings)
    assert len(hashed) == 2


@pytest.mark.parametrize("left", ["", "{", "[]", '{"weights": 1}', '{"weights": "../x"}'])
def test_a_damaged_marker_is_not_trusted(weights: Path, left: str) -> None:
    hashed: list[str] = []
    first = _hash(weights, hashed)
    (marker,) = Path.home().rglob("*.json")
    assert json.loads(marker.read_text())["weights"] == first
    marker.write_text(left)
    assert _hash(weights, hashed) == first
    assert len(hashed) == 2
    assert json.loads(marker.read_text())["weights"] == first


def test_a_file_that_changes_while_it_is_hashed_leaves_no_marker(weights: Path) -> None:
    def compute() -> str:
        weights.write_bytes(b"other")
        return "0" * 64

    remembered_hash("", [weights], compute, 0)
    assert not list(Path.home().rglob("*.json"))


def test_without_a_place_for_markers_it_is_hashed(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    hashed: list[str] = []
    assert _hash(weights, hashed) == _hash(weights, hashed)
    assert len(hashed) == 2


def test_small_weights_and_the_model_s_folder_have_no_marker(
    random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    model = shutil.copytree(random_models["sd1"], tmp_path / "model")
    before = sorted(model.rglob("*"))
    small = find_model(str(model)).weights_hash()
    assert not (tmp_path / "home").exists()
    assert find_model(str(model)).weights_hash(marker_bytes=0) == small
    assert sorted(model.rglob("*")) == before
    assert len(list((tmp_path / "home").rglob("*.json"))) == 1
