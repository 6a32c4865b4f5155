import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from scanner.captions.formats import UnreadableFile, inspect, read
from scanner.captions.webdataset import SKIPPED, split_name
from scanner.errors import UserError

IMAGE = b"\xff\xd8" + bytes(100_000)


def _tar(members: list[tuple[str, bytes | dict]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, data in members:
            data = json.dumps(data).encode() if isinstance(data, dict) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_sample_is_a_row_of_its_texts(tmp_path: Path, name: str) -> None:
    data = _tar(
        [
            ("s/000.jpg", IMAGE),
            ("s/000.json", {"caption": "a cat", "url": "u0", "key": "other"}),
            ("s/000.txt", b"A cat"),
            ("s/001.txt", b"a dog"),
            ("s/001.jpg", IMAGE),
            ("s/002.jpg", IMAGE),
            ("s/003.json", b"{broken"),
            ("s/004.seg.png", IMAGE),
            ("s/004.TXT", b"caf\xe9"),
        ]
    )
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    contents = inspect(str(path))
    assert contents.columns == ["caption", "url", "key", "txt"]
    (batch,) = read(str(path), contents.columns)
    assert batch.rows == [0, 1, 4]
    assert batch.columns == {
        "caption": ["a cat", None, None],
        "url": ["u0", None, None],
        "key": ["s/000", "s/001", "s/004"],
        "txt": ["A cat", "a dog", "caf\udce9"],
    }
    assert batch.bad == [
        (2, "bad row: no text (.txt, .json) with it"),
        (3, "bad row: not JSON"),
    ]


def test_images_are_not_read(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.tar").write_bytes(_tar([("0.txt", b"x"), ("0.jpg", IMAGE), ("1.txt", b"y")]))
    taken = []
    plain = tarfile.TarFile.extractfile
    monkeypatch.setattr(
        tarfile.TarFile, "extractfile", lambda tar, m: (taken.append(m.name), plain(tar, m))[1]
    )
    (batch,) = read(str(tmp_path / "a.tar"), ["txt"])
    assert batch.columns["txt"] == ["x", "y"]
    assert taken == ["0.txt", "1.txt"]


@pytest.mark.parametrize("damage", ["cut in an image", "cut in a text", "a bad header"])
def test_a_damaged_tar_gives_what_can_be_read_and_then_says_so(tmp_path: Path, damage) -> None:
    # A member takes 1024 bytes, header and data.
    data = bytearray(_tar([(f"{i}.{end}", b"text") for i in range(9) for end in ("jpg", "txt")]))
    if damage == "a bad header":
        data[1024 * 12 : 1024 * 12 + 512] = b"x" * 512
    else:
        data = data[: 1024 * (12 + (damage == "cut in a text")) + 514]
    (tmp_path / "a.tar").write_bytes(data)
    batches = read(str(tmp_path / "a.tar"), ["txt"])
    assert next(batches).columns["txt"] == ["text"] * 6
    with pytest.raises(UnreadableFile, match="ReadError"):
        list(batches)


def test_what_follows_the_end_of_a_tar_is_not_passed_over(tmp_path: Path) -> None:
    joined = _tar([("0.txt", b"first")]) + _tar([("1.txt", b"second")])
    (tmp_path / "a.tar").write_bytes(joined)
    batches = read(str(tmp_path / "a.tar"), ["txt"])
    assert next(batches).columns["txt"] == ["first"]
    with pytest.raises(UnreadableFile, match="data after the archive's end"):
        list(batches)


def test_a_tar_without_texts_and_one_with_a_huge_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(_tar([("0.jpg", IMAGE)]))
    contents = inspect(str(tmp_path / "a.tar"))
    assert (contents.columns, contents.is_open) == ([], True)
    (tmp_path / "b.tar").write_bytes(_tar([("0.txt", bytes(2 << 20)), ("1.txt", b"x")]))
    (batch,) = read(str(tmp_path / "b.tar"), ["txt"])
    assert batch.over == {0: ("txt", "over 1 MiB")}
    (tmp_path / "c.tar").write_bytes(_tar([("0.txt", bytes(9 << 20)), ("1.txt", b"x")]))
    (batch,) = read(str(tmp_path / "c.tar"), ["txt"])
    assert batch.bad == [(0, "bad row: a .txt of more than 8388608 bytes")]


def test_files_of_no_sample_are_skipped_and_counted(tmp_path: Path) -> None:
    members: list[tuple[str, bytes | dict]] = [
        ("README.md", b"about"), ("README", b"about"), ("LICENSE.txt", b"terms"),
        ("./._000.txt", b"mac"), ("./000.txt", b"one"), ("./000.jpg", IMAGE),
        (".DS_Store", b""), ("d/.hidden/9.txt", b"no"), ("__meta__.json", {"caption": "no"}),
        ("__key__/x.txt", b"no"), ("notes", b"no"), ("001.txt", b"two"),
    ]  # fmt: skip
    (tmp_path / "a.tar").write_bytes(_tar(members))
    assert inspect(str(tmp_path / "a.tar")).columns == ["txt", "key"]
    (batch,) = read(str(tmp_path / "a.tar"), ["key", "txt"])
    assert batch.columns == {"key": ["./000", "001"], "txt": ["one", "two"]}
    assert (batch.rows, batch.bad, batch.notes) == ([0, 1], [], {SKIPPED: 9})


def test_a_sample_whose_files_are_apart_refuses_the_tar(tmp_path: Path) -> None:
    members: list[tuple[str, bytes | dict]] = [
        ("0.jpg", IMAGE), ("1.jpg", IMAGE), ("0.txt", b"a"), ("1.txt", b"b"),
    ]  # fmt: skip
    (tmp_path / "a.tar").write_bytes(_tar(members))
    with pytest.raises(UserError, match=r"files of sample 0 are not adjacent .* --sort=name"):
        inspect(str(tmp_path / "a.tar"))
    with pytest.raises(UnreadableFile, match="files of sample 0 are not adjacent"):
        list(read(str(tmp_path / "a.tar"), ["txt"]))


@pytest.mark.parametrize("twice", ["0.txt", "0.TXT", "0.jpg"])
def test_two_files_of_one_ending_make_a_bad_row(tmp_path: Path, twice: str) -> None:
    data = _tar([("0.txt", b"a"), ("0.jpg", IMAGE), (twice, b"b"), ("1.txt", b"c")])
    (tmp_path / "a.tar").write_bytes(data)
    (batch,) = read(str(tmp_path / "a.tar"), ["txt"])
    ending = twice[2:].lower()
    assert batch.bad == [(0, f"bad row: more than one .{ending} with it")]
    assert (batch.rows, batch.columns["txt"]) == ([1], ["c"])


def test_names_come_from_many_samples_and_txt_stands_in(tmp_path: Path) -> None:
    samples: list[tuple[str, bytes | dict]] = [("0.txt", b"first")]
    samples += [(f"{k}.json", {"caption": f"c{k}", **({"url": "u"} if k == 8 else {})})
                for k in range(1, 9)]  # fmt: skip
    (tmp_path / "a.tar").write_bytes(_tar(samples))
    contents = inspect(str(tmp_path / "a.tar"))
    assert contents.columns == ["txt", "key", "caption", "url"]
    assert (contents.fallback, contents.is_open) == ("txt", True)


def test_the_webdataset_library_groups_the_same_names() -> None:
    """base_plus_ext of webdataset 1.0.2, whose pattern this is, but for what is skipped here."""
    pattern = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
    names = ["0.txt", "./0.seg.png", "a/b/0.JSON", "a.b/c.txt", "0", "a/0", ".x", "1.5.txt"]
    for name in names:
        match = pattern.match(name)
        theirs = (match.group(1), match.group(2).lower()) if match else None
        assert split_name(name) == theirs, name
