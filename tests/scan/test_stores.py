"""Whole scans in each kind of store: killed, resumed, repaired, by two drivers at once.

The long part is ``pytest -n 0 -m faults -s tests/scan/test_stores.py``.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from scanner.run import Run
from scanner.storage import Store
from tests.caching_store import CachingStore, provide
from tests.killed_writes import Killed
from tests.memscan import called
from tests.sessions import kill_session
from tests.waiting import wait_until
from tests.whole_scans import SCAN, Scores, assert_nothing_lost, scores, write_captions

CAPTIONS = 24
FOLDER = "data/100% [new] + ünï/#1"
LATER = [pytest.param(name, marks=pytest.mark.faults) for name in ("s3", "azure")]


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captions") / "a b.csv"
    write_captions(path, rows=2 * CAPTIONS, distinct=CAPTIONS)
    return path


@pytest.fixture(scope="module")
def local(captions: Path) -> Scores:
    """The scores of a scan from disk to disk."""
    out = str(captions.parent / "run")
    called(*SCAN, "--profile", "triage", "--captions", str(captions), "--out", out)
    return scores(out)


@pytest.fixture(params=["gcs", *LATER])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own in each kind of store."""
    return f"{request.getfixturevalue(request.param)}/{tmp_path.name}"


def _words(bucket: str, captions: Path) -> tuple[str, ...]:
    """The command of a scan from a store to the same store, in several slices."""
    data = Store(f"{bucket}/{FOLDER}")
    data.upload(captions, captions.name)
    inputs = ("--captions", data.location(captions.name), "--out", f"{bucket}/runs/a = b")
    return (*SCAN, "--profile", "triage", "--slice-captions", "4", *inputs)


def _kill_before(commit: int, words: tuple[str, ...]) -> None:
    """Run a command in this process and end it before it makes its n-th commit of a slice."""
    made = 0
    create = Store.create

    def counted(store: Store, name: str, data: bytes) -> bool:
        nonlocal made
        if name.startswith("commits/"):
            if made == commit:
                raise Killed
            made += 1
        return create(store, name, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "create", counted)
        with pytest.raises(Killed):
            called(*words)


@pytest.mark.slow
def test_a_killed_scan_resumes_to_the_local_table(
    bucket: str, captions: Path, local: Scores
) -> None:
    words = _words(bucket, captions)
    _kill_before(2, words)
    out = words[-1]
    assert len(Run.existing(out).store.names("commits")) == 2
    assert "resuming" in called(*words).stderr
    assert_nothing_lost(out, local)


@pytest.mark.slow
def test_a_damaged_part_is_scored_again(bucket: str, captions: Path, local: Scores) -> None:
    words = _words(bucket, captions)
    _kill_before(3, words)
    store = Store(words[-1])
    commits = Run.existing(words[-1]).commits.all()
    cut, gone, flipped = (part.path for commit in commits for part in commit.parts)
    data = store.read(flipped)
    store.write(cut, store.read(cut)[:-1])
    store.remove(gone)
    store.write(flipped, data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    again = called(*words)
    assert "damaged" in again.stderr
    assert_nothing_lost(words[-1], local)


@pytest.mark.slow
def test_a_store_that_caches_listings_loses_nothing(
    tmp_path: Path, captions: Path, local: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = _words(provide(CachingStore, tmp_path, monkeypatch), captions)
    _kill_before(2, words)
    called(*words)
    assert_nothing_lost(words[-1], local)


@pytest.mark.faults
def test_two_drivers_at_once_make_one_run(bucket: str, captions: Path, local: Scores) -> None:
    words = _words(bucket, captions)
    drivers = [_start(words) for _ in range(2)]
    assert [driver.wait(600) for driver in drivers] == [0, 0]
    assert_nothing_lost(words[-1], local)


@pytest.mark.faults
def test_actors_and_driver_killed_by_signal_9_resume(
    bucket: str, captions: Path, local: Scores
) -> None:
    words = _words(bucket, captions)
    store = Store(words[-1])
    began = time.monotonic()
    driver = _start((*words, "--actors", "1", "--cpus-per-actor", "1"))
    wait_until(lambda: store.names("commits") or driver.poll() is not None, "nothing is committed")
    kill_session(driver)
    called(*words)
    print(f"\n{bucket}: killed and resumed in {time.monotonic() - began:.1f} s")
    assert_nothing_lost(words[-1], local)


@pytest.mark.faults
def test_how_long_a_race_and_a_listing_take(bucket: str) -> None:
    store = Store(bucket)
    began = time.monotonic()
    store.preflight()
    race = time.monotonic() - began
    for number in range(2500):
        store.write(f"many/{number:06d}", b"1")
    began = time.monotonic()
    assert len(store.names("many")) == 2500
    listing = time.monotonic() - began
    print(f"\n{bucket}: 16 racing writers {race:.2f} s, listing 2,500 files {listing:.2f} s")


def _start(words: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "jobs.cli", *words], start_new_session=True)
