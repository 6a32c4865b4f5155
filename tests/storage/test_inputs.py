"""Input files, as they are named by a folder, a pattern or a path."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.storage import expand


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
    with pytest.raises(UserError, match=r"nothing matches; .*\*\* matches"):
        expand((str(tmp_path / "*.jsonl.gz"),), endings)
    assert len(expand((str(tmp_path / "**" / "*.jsonl.gz"),), endings)) == 1


def test_a_link_to_a_directory_is_not_entered_lest_it_lead_around(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption\n")
    (tmp_path / "around").symlink_to(tmp_path)
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    names = [Path(file).name for file in expand((str(tmp_path),), (".csv",))]
    assert names == ["a.csv", "b.csv"]


@pytest.mark.parametrize("name", ["", "locked", "*"])
def test_a_directory_that_may_not_be_listed_is_no_empty_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.csv").write_text("caption\n")
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        """The tests may run as a user to whom nothing is forbidden."""
        if str(path).rstrip("/").endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="locked: cannot be listed: Permission denied"):
        expand((str(tmp_path / name),), (".csv",))
