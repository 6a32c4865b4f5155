"""Which files a directory, a glob or a name stands for: each once, the others skipped by reason."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from scanner.captions.formats import why_not_read
from scanner.errors import UserError
from scanner.storage import Listing, Store, full_url, open_input
from scanner.storage.listing import EARLIER
from scanner.storage.walking import BROKEN, HIDDEN, NOT_REGULAR, OUTSIDE, REMOVED, SAME


def _list(*urls: str | Path) -> tuple[list[str], dict[str, int]]:
    """The names of the files found, and how many were skipped for each reason."""
    listing = Listing()
    found = listing.add([str(url) for url in urls], why_not_read)
    return [Path(url).name for url in found], listing.skipped.counts


def _make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_files_come_in_order_and_what_is_missing_is_named(tmp_path: Path) -> None:
    _make(tmp_path, "b.csv", "a.parquet", "sub/c.jsonl.gz", "note.md")
    assert _list(tmp_path)[0] == ["a.parquet", "b.csv", "c.jsonl.gz"]
    assert _list(tmp_path / "*.csv", tmp_path)[0] == ["b.csv", "a.parquet", "c.jsonl.gz"]
    assert _list(tmp_path / "**" / "*.jsonl.gz")[0] == ["c.jsonl.gz"]
    assert _list(tmp_path / "su*")[0] == ["c.jsonl.gz"]
    for name, message in (
        ("missing.csv", "no such file"),
        ("*.md", r"no file here can be read: 1 skipped, \.md: not one of"),
        ("*.jsonl.gz", r"nothing matches; .*\*\* matches"),
        ("nowhere/*.csv", "nothing matches"),
    ):
        with pytest.raises(UserError, match=message):
            _list(tmp_path / name)


def test_what_tools_leave_behind_is_skipped_and_counted(tmp_path: Path) -> None:
    _make(
        tmp_path, "x=1/_y=2/a.csv", "_SUCCESS", ".a.csv.crc", "._a.csv",
        "_temporary/0/a.csv", "x=1/.ipynb_checkpoints/a-checkpoint.csv",
    )  # fmt: skip
    assert _list(tmp_path) == (["a.csv"], {HIDDEN: 5})
    assert _list(tmp_path / "**" / "*.csv") == (["a.csv"], {HIDDEN: 3})


def test_a_hidden_file_is_read_where_it_is_named(tmp_path: Path) -> None:
    _make(tmp_path, "_a.csv", "_b/c.csv")
    assert _list(tmp_path / "_a.csv", tmp_path / "_*")[0] == ["_a.csv", "c.csv"]


@pytest.mark.parametrize(
    "name", ["a.json", "b.parquet.gz", "c.csv.bz2", "d.tar.zst", "e", "f.JPG", "g.arrow"]
)
def test_an_unknown_ending_is_skipped_or_refused_by_name(name: str, tmp_path: Path) -> None:
    _make(tmp_path, name, "a.csv")
    found, skipped = _list(tmp_path)
    assert found == ["a.csv"]
    (reason,) = skipped
    assert "not one of" in reason
    with pytest.raises(UserError, match="not one of"):
        _list(tmp_path / name)


def test_a_text_file_is_read_only_where_it_is_named(tmp_path: Path) -> None:
    _make(tmp_path, "a.csv", "captions.txt")
    found, skipped = _list(tmp_path)
    assert found == ["a.csv"]
    assert "name it to read" in next(iter(skipped))
    assert _list(tmp_path / "captions.txt", tmp_path / "*.txt")[0] == ["captions.txt"]


def test_one_file_under_several_names_is_one_file(tmp_path: Path) -> None:
    folder = _make(tmp_path / "d", "x.csv", "sub/y.csv")
    (folder / "link.csv").symlink_to("x.csv")
    (folder / "hard.csv").hardlink_to(folder / "x.csv")
    (folder / "again").symlink_to("sub")
    (folder / "around").symlink_to(folder)
    assert _list(folder) == (["hard.csv", "y.csv"], {SAME: 4})
    dots = f"{folder}/../d/x.csv"
    assert _list(folder / "x.csv", dots, folder / "*.csv") == (["x.csv"], {SAME: 4})


def test_files_of_an_earlier_plan_are_left_out_by_any_name(tmp_path: Path) -> None:
    _make(tmp_path, "x.csv", "y.csv")
    (tmp_path / "z.csv").symlink_to("x.csv")
    listing = Listing()
    listing.leave_out([str(tmp_path / "x.csv")])
    assert listing.add([str(tmp_path)], why_not_read) == [str(tmp_path / "y.csv")]
    assert listing.skipped.counts == {EARLIER: 2}


def test_links_out_of_the_directory_are_named_not_followed(tmp_path: Path) -> None:
    _make(tmp_path, "secret.csv", "e/more.csv", "d/.versions/5/new.csv", "d/a.csv")
    (tmp_path / "d/x.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "d/more").symlink_to(tmp_path / "e")
    (tmp_path / "d/current").symlink_to(".versions/5")
    (tmp_path / "d/gone.csv").symlink_to("nowhere")
    found, skipped = _list(tmp_path / "d")
    assert found == ["a.csv", "new.csv"]
    assert skipped == {HIDDEN: 1, OUTSIDE: 2, BROKEN: 1}
    assert _list(tmp_path / "d/x.csv", tmp_path / "d/more")[0] == ["x.csv", "more.csv"]


def test_a_pipe_is_no_input(tmp_path: Path) -> None:
    _make(tmp_path, "a.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert _list(tmp_path) == (["a.csv"], {NOT_REGULAR: 1})
    with pytest.raises(UserError, match="not a regular file"):
        _list(tmp_path / "pipe.csv")


ODD = [
    "[1].csv",
    "a::b.csv",
    "a b.csv",
    "x.csv?download=true",
    "what?.csv",
    "*.csv",
    "d[0]/a#%20.csv",
]


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_exists_is_taken_literally(name: str, tmp_path: Path) -> None:
    _make(tmp_path, name, "1.csv", "whatx.csv")
    listing = Listing()
    (found,) = listing.add([str(tmp_path / name)], why_not_read)
    with open_input(found) as file:
        assert file.read().decode() == name


def test_a_glob_below_a_directory_with_brackets_matches_there(tmp_path: Path) -> None:
    _make(tmp_path, "v[1]/a.csv", "v[1]/b/c.csv", "v1/d.csv")
    assert _list(tmp_path / "v[1]" / "*.csv")[0] == ["a.csv"]
    assert _list(tmp_path / "v[12]" / "*.csv")[0] == ["d.csv"]


def test_a_name_that_is_not_utf8_has_a_url_that_is_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9 100%.csv"
    Path(os.fsdecode(path)).write_text("x")
    listing = Listing()
    (url,) = listing.add([str(tmp_path)], why_not_read)
    assert url.startswith("file:///")
    url.encode()
    with open_input(url) as file:
        assert file.read() == b"x"
    assert full_url(url) == url
    assert Listing().add([url], why_not_read) == [url]


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
        _list(tmp_path / name)


def test_of_a_delta_table_the_current_files_are_read(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    table = str(tmp_path / "x[1] p=q")
    rows = pa.table({"caption": ["a", "b"], "p": ["x y", "z"]})
    for _ in range(2):
        # The package writes to no such path.
        deltalake.write_deltalake(tmp_path / "t", rows, mode="overwrite", partition_by=["p"])
    (tmp_path / "t").rename(table)
    found, skipped = _list(tmp_path)
    assert (len(found), skipped) == (2, {REMOVED: 2})
    assert _list(f"{table}/**/{found[0]}") == ([found[0]], {})
    Path(table).rename(tmp_path / "t")
    live = [Path(url) for url in deltalake.DeltaTable(tmp_path / "t").file_uris()]
    assert {path.name for path in live} == set(found)
    live[0].unlink()
    (tmp_path / "t").rename(table)
    with pytest.raises(UserError, match="1 current files of this Delta table are not in"):
        _list(table)


@pytest.mark.parametrize("name", ["_delta_log/0.json", "metadata/v1.metadata.json", ".hoodie/x"])
def test_a_table_that_cannot_be_told_from_its_files_is_refused(name: str, tmp_path: Path) -> None:
    _make(tmp_path, name, "data/a.parquet")
    with pytest.raises(UserError, match=r"Delta|Iceberg|Hudi"):
        _list(tmp_path)


def test_a_bucket_is_listed_by_the_same_rules(s3: str, tmp_path: Path) -> None:
    store = Store(f"{s3}/{tmp_path.name}")
    names = (
        "a.csv",
        "sub/[1].csv",
        "sub/1.csv",
        "_temporary/a.csv",
        "._a.csv",
        "x.md",
        "d[0]/e.csv",
    )
    for name in names:
        store.write(name, b"x")
    found, skipped = _list(store.url)
    assert sorted(found) == ["1.csv", "[1].csv", "a.csv", "e.csv"]
    assert skipped.pop(HIDDEN) == 2
    assert list(skipped.values()) == [1]
    assert _list(f"{store.url}/sub/[1].csv")[0] == ["[1].csv"]
    assert _list(f"{store.url}/sub/[12].csv")[0] == ["1.csv"]
    assert _list(f"{store.url}/d[0]/*.csv", f"{store.url}/*.csv")[0] == ["e.csv", "a.csv"]
    assert sorted(_list(f"{store.url}/**/*.csv", f"{store.url}/su*")[0]) == [
        "1.csv", "[1].csv", "a.csv", "e.csv",
    ]  # fmt: skip
