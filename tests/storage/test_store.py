"""A store on a disk and of each kind: whole files, one winner, and errors that name the file."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.storage import Store
from scanner.storage.store import RACERS

CLOUDS = [pytest.param(name, marks=pytest.mark.slow) for name in ("gcs", "azure")]


@pytest.fixture(params=["local", "s3", *CLOUDS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"{request.getfixturevalue(request.param)}/{tmp_path.name}")


def test_only_the_first_create_wins(store: Store) -> None:
    assert store.create("a/b.json", b"first")
    assert not store.create("a/b.json", b"second")
    assert store.read("a/b.json") == b"first"


def test_write_replaces(store: Store) -> None:
    store.write("progress.json", b"1")
    store.write("progress.json", b"22")
    assert store.read("progress.json") == b"22"


@pytest.mark.slow
def test_a_race_of_many_writers_has_one_winner(store: Store) -> None:
    wins: list[int] = []
    barrier = threading.Barrier(RACERS)

    def race(number: int) -> None:
        barrier.wait()
        if store.create("commits/000001.0.json", f"writer {number}".encode()):
            wins.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.read("commits/000001.0.json") == f"writer {wins[0]}".encode()


@pytest.mark.slow
def test_preflight_sees_one_winner_and_leaves_nothing(store: Store) -> None:
    assert store.preflight() == RACERS
    assert store.names("preflight") == []


@pytest.mark.slow
def test_preflight_refuses_a_store_that_lets_several_win(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(name: str, data: bytes) -> bool:
        store.write(name, data)
        return True

    monkeypatch.setattr(store, "create", careless)
    with pytest.raises(UserError, match="ignores conditional writes"):
        store.preflight()


@pytest.mark.slow
def test_names_lists_files_and_no_unfinished_ones(store: Store) -> None:
    store.create("commits/b.json", b"")
    store.create("commits/a.json", b"x")
    assert store.names("commits") == ["commits/a.json", "commits/b.json"]
    assert store.names("nothing") == []


@pytest.mark.slow
def test_a_file_that_another_writer_makes_is_listed_at_once(store: Store) -> None:
    assert store.names("commits") == []
    Store(store.url).create("commits/x.json", b"1")
    assert store.names("commits") == ["commits/x.json"]


def test_a_store_without_conditional_create_has_to_be_allowed() -> None:
    with pytest.raises(UserError, match="--single-writer"):
        Store("memory://somewhere")
    store = Store("memory://somewhere", single_writer=True)
    assert store.preflight() == 1
    assert store.create("x", b"1")
    assert not store.create("x", b"2")


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(UserError, match="cannot write here"):
        Store(str(tmp_path / "file" / "run")).preflight()


@pytest.mark.slow
def test_sizes_are_those_of_the_files_in_a_folder(store: Store) -> None:
    store.write("scores/b", b"22")
    store.write("scores/a", b"1")
    store.write("scores/sub/c", b"333")
    store.write("scores/.a.0123", b"left by a killed writer")
    assert _sizes(store, "scores") == {"scores/a": 1, "scores/b": 2}
    assert store.files("nothing") == {}


def _sizes(store: Store, folder: str) -> dict[str, int]:
    return {name: file.size for name, file in store.files(folder).items()}


def test_a_write_returns_the_checksum_that_listings_show(store: Store) -> None:
    first = store.write("scores/a", b"1")
    assert store.files("scores")["scores/a"].etag == first
    assert bool(first) == store.is_remote
    assert store.write("scores/a", b"2") != first or not store.is_remote


@pytest.mark.slow
def test_a_file_that_is_missing_may_be_removed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("a", b"")
    store.remove("a")
    store.remove("a", missing_ok=True)
    with pytest.raises(FileNotFoundError):
        store.remove("a")


@pytest.mark.slow
def test_a_removed_folder_takes_all_of_its_files_and_no_others(store: Store) -> None:
    for name in ("a/x", "a/sub/y", "ab", "b/z"):
        store.write(name, b"1")
    store.remove_folder("a")
    store.remove_folder("a")
    assert _sizes(store, "") == {"ab": 1}
    assert not store.exists("a/sub/y")
    assert store.exists("b/z")
    with pytest.raises(ValueError, match="needs a folder"):
        store.remove_folder("")


def test_leftovers_of_killed_writers_go_open_writes_stay(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("a/done", b"1")
    left, at_work = (tmp_path / f"a/.x.csv.{digit * 32}" for digit in "0f")
    for path in (left, at_work, tmp_path / "a/.own"):
        path.write_bytes(b"half a f")
    for path in (left, tmp_path / "a/.own", tmp_path / "a/done"):
        os.utime(path, (0, 0))
    store.remove_unfinished()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"done", ".own", at_work.name}


@pytest.mark.slow
def test_creating_the_same_content_again_counts_as_ones_own(store: Store) -> None:
    assert store.create("commit.json", b"attempt 1")
    assert store.create("commit.json", b"attempt 1")
    assert not store.create("commit.json", b"attempt 2")


@pytest.mark.slow
def test_an_upload_is_complete_and_files_open_read_only(store: Store, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"part")
    store.upload(tmp_path / "local", "scores/part")
    assert store.read("scores/part") == b"part"
    assert _sizes(store, "scores") == {"scores/part": 4}
    with pytest.raises(ValueError, match="read-only"):
        store.open("scores/part", "wb")


WRITES = {
    "write": lambda store, source: store.write("a/x", b"1" * 4096),
    "create": lambda store, source: store.create("a/x", b"1" * 4096),
    "upload": lambda store, source: store.upload(source, "a/x"),
}


@pytest.mark.parametrize("how", WRITES)
def test_a_full_disk_names_the_file_and_leaves_nothing(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "source").write_bytes(b"1")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        WRITES[how](Store(str(tmp_path / "s")), tmp_path / "source")
    assert caught.value.filename == str(tmp_path / "s/a/x")
    assert list((tmp_path / "s/a").iterdir()) == []


def test_a_file_over_the_limit_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from scanner.storage import Store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: Store(sys.argv[1]).write('a/x', b'1' * 100_000)\n"
        "except OSError as error: print(error.filename)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "a/x")
    assert list((tmp_path / "a").iterdir()) == []
