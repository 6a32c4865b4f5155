"""The commands index-images and find-image, from files to the nearest training image."""

import json
from pathlib import Path

import pytest

from jobs import find_image, index_images
from tests.evidence.index.pictures import encoded, write_shard


@pytest.fixture
def index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    write_shard(tmp_path / "data.parquet", list(range(12)))
    words = [str(tmp_path / "data.parquet"), "--out", str(tmp_path / "index")]
    assert index_images.main(words) == 0
    printed = capsys.readouterr().out
    assert "images     12, of 12 samples" in printed
    return tmp_path / "index"


def test_the_training_image_of_a_copy_is_named(
    index: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in (7, 50):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(number, "JPEG", 90))
    words = [str(tmp_path / "7.jpg"), str(tmp_path / "50.jpg"), "--index", str(index)]
    assert find_image.main([*words, "--top", "3", "--json"]) == 0
    copied, other = json.loads(capsys.readouterr().out)["files"]
    assert copied["file"] == words[0]
    first, *others = copied["nearest"]
    assert (first["key"], first["row"], first["is_match"]) == ("data-7", 7, True)
    assert first["image_key"] == "https://images.example/7"
    assert [one["is_match"] for one in others + other["nearest"]] == [False] * 5
    assert find_image.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1:3] == ["copy", "data-7"]


def test_what_is_no_image_or_no_index_is_named(
    index: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("no image")
    assert find_image.main([str(tmp_path / "a.txt"), "--index", str(index)]) == 1
    assert "a.txt: not an image; give a PNG" in capsys.readouterr().err
    assert find_image.main([str(tmp_path / "a.txt"), "--index", str(tmp_path)]) == 1
    assert "no finished index here" in capsys.readouterr().err
    assert find_image.main([str(tmp_path / "a.txt"), "--index", str(index), "--top", "0"]) == 2
