"""Creating a file only if it is absent, on file systems that lack one way after another."""

import errno
import os
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.storage import Store, local
from scanner.storage.store import RACERS


def _lacks(monkeypatch: pytest.MonkeyPatch, *names: str, number: int = errno.EPERM) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in names:
        monkeypatch.setattr(local, name, refuse)


WAYS = ("_link", "_rename_without_replacing", "_rename_under_lock")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
@pytest.mark.parametrize("lacking", [WAYS[:1], WAYS[:2]], ids=["no links", "no such rename"])
def test_without_hard_links_one_of_many_writers_still_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...], number: int
) -> None:
    _lacks(monkeypatch, *lacking, number=number)
    store = Store(str(tmp_path))
    assert store.preflight() == RACERS
    assert store.create("commits/a", b"first")
    assert not store.create("commits/a", b"second")
    assert store.names("commits") == ["commits/a"]
    assert store.read("commits/a") == b"first"


def test_a_writer_that_died_under_the_lock_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lacks(monkeypatch, *WAYS[:2])
    (tmp_path / local.LOCK).touch()
    (tmp_path / f".a.{'0' * 32}").write_bytes(b"half")
    assert Store(str(tmp_path)).create("a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_without_any_way_one_writer_alone_has_to_be_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lacks(monkeypatch, *WAYS)
    with pytest.raises(UserError, match=r"hard links.*--single-writer"):
        Store(str(tmp_path)).preflight()
    alone = Store(str(tmp_path), single_writer=True)
    assert alone.preflight() == 1
    assert alone.create("a", b"1")
    assert not alone.create("a", b"2")


def test_a_full_disk_is_no_lack_of_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lacks(monkeypatch, "_link", number=errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        Store(str(tmp_path)).create("a", b"1")
    assert not any(tmp_path.iterdir())
