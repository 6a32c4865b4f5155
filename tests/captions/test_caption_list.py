"""Lists of captions: a damaged file, or a location that is not text, is one clear line."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pytest

from scanner.captions.caption_list import read_caption_list
from scanner.errors import UserError


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("name", ["a.list", "a.txt", "a.csv"])
@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".zst", _zstd)])
def test_a_truncated_list_is_refused(name: str, ending: str, compress, tmp_path: Path) -> None:
    path = tmp_path / f"{name}{ending}"
    lines = [f"caption {os.urandom(8).hex()}\n" for _ in range(5000)]
    whole = compress("".join(["caption\n", *lines]).encode())
    path.write_bytes(whole)
    assert len(read_caption_list(str(path), "--captions", ["caption"])[1]) >= len(lines)
    for kept in (5, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:kept])
        with pytest.raises(UserError) as caught:
            read_caption_list(str(path), "--captions", ["caption"])
        message = str(caught.value)
        assert message.startswith(f"--captions {path}: cannot be read: ")
        assert "\n" not in message


@pytest.mark.parametrize("name", ["x%FF.csv", "x\udcff.csv"])
def test_a_list_whose_name_is_not_utf_8_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"x\xff.csv")).write_bytes(b"caption\na cat\n")
    found = read_caption_list(f"file://{tmp_path}/{name}", "--captions", ["caption"])
    assert found == ("caption", ["a cat"])


def test_a_list_whose_name_is_not_unicode_is_refused(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/x\ud800.csv"
    with pytest.raises(UserError, match=r"x\\ud800\.csv'?: .*valid Unicode"):
        read_caption_list(url, "--captions", ["caption"])
