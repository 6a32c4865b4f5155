import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from scanner.captions.formats import UnreadableFile, inspect, read
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
    assert contents.bytes == path.stat().st_size
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


def test_a_tar_without_texts_and_one_with_a_huge_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(_tar([("0.jpg", IMAGE)]))
    with pytest.raises(UserError, match="no text"):
        inspect(str(tmp_path / "a.tar"))
    (tmp_path / "b.tar").write_bytes(_tar([("0.txt", bytes(2 << 20)), ("1.txt", b"x")]))
    (batch,) = read(str(tmp_path / "b.tar"), ["txt"])
    assert batch.bad == [(0, "bad row: a .txt of more than 1048576 bytes")]
