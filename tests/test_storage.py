import threading
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.storage import RACERS, Store, expand, full_url


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def test_only_the_first_create_wins(store: Store) -> None:
    assert store.create("a/b.json", b"first")
    assert not store.create("a/b.json", b"second")
    assert store.read("a/b.json") == b"first"


def test_write_replaces(store: Store) -> None:
    store.write("progress.json", b"1")
    store.write("progress.json", b"22")
    assert store.read("progress.json") == b"22"


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


def test_preflight_sees_one_winner_and_leaves_nothing(store: Store) -> None:
    assert store.preflight() == RACERS
    assert store.names("preflight") == []


def test_preflight_refuses_a_store_that_lets_several_win(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(name: str, data: bytes) -> bool:
        store.write(name, data)
        return True

    monkeypatch.setattr(store, "create", careless)
    with pytest.raises(UserError, match="ignores conditional writes"):
        store.preflight()


def test_names_lists_files_and_no_unfinished_ones(store: Store) -> None:
    store.create("commits/b.json", b"")
    store.create("commits/a.json", b"x")
    assert store.names("commits") == ["commits/a.json", "commits/b.json"]
    assert store.names("nothing") == []


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


def test_expand_finds_files_in_order_and_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("b.csv", "a.parquet", "sub/c.jsonl.gz", "note.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    endings = (".csv", ".parquet", ".jsonl.gz")
    names = [Path(f).name for f in expand((str(tmp_path),), endings)]
    assert names == ["a.parquet", "b.csv", "c.jsonl.gz"]
    assert len(expand((str(tmp_path / "*.csv"), str(tmp_path)), endings)) == 3
    with pytest.raises(UserError, match="no such file"):
        expand((str(tmp_path / "missing.csv"),), endings)
    with pytest.raises(UserError, match="no file ends in"):
        expand((str(tmp_path / "*.md"),), endings)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError) as caught:
        full_url("s3://key:secret@bucket/x")
    assert "secret" not in str(caught.value)
