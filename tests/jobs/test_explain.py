"""memscan explain, from the caption to its files."""

import json
from pathlib import Path

import pytest
from PIL import Image

from jobs.explain import main
from scanner.scoring.catalog import SIGNALS

CAPTION = "a red ../../heart.png"
QUICK = ["--model", "testbed", "--steps", "2", "--band-size", "3"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_explain_writes_a_page_png_files_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Heat maps are numbered, since words are not safe file names; two are of special tokens."""
    assert main([CAPTION, *QUICK, "--png", "pictures/new", "--json", "--seed", "3"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["caption"] == CAPTION
    assert record["options"]["seed"] == 3
    assert len(record["held_out"]) == 3
    assert "<mark>" in Path(record["out"]).read_text(encoding="utf-8")
    files = [Path(picture) for picture in record["pictures"]]
    assert sum(file.name.startswith("heat_") for file in files) == len(record["words"]) + 2
    assert {"picture.png", "overview.png", "words.png"} < {file.name for file in files}
    assert all(file.parent == Path("pictures/new") for file in files)
    for file in files:
        assert file.stat().st_size < 150_000
        with Image.open(file) as image:
            assert image.format == "PNG"
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 2, f"{file} is blank"


def test_the_band_can_come_from_the_users_captions(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.csv").write_text("key,TEXT\n1,a cat\n2,a dog\n3,a cat\n4,a red heart\n")
    assert main(["a red heart", *QUICK, "--band", "mine.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["held_out"] == ["a cat", "a dog"]
    Path("mine.txt").write_text("a cat\n\n  two dogs \n")
    assert main(["x", *QUICK, "--band", "mine.txt", "--out", "new/b.html"]) == 0
    shown = capsys.readouterr().out
    assert "2 held-out captions" in shown
    assert "b.html" in shown
    assert Path("new/b.html").exists()


def test_directions_can_come_from_a_calibration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the testbed, labels reverse one signal's published direction and leave one undecided."""
    assert main(["a red heart", *QUICK, "--calibration", "testbed", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    directions = {one["name"]: one["memorized"] for one in record["scores"]}
    published = {name: SIGNALS[name].memorized for name in directions}
    assert directions == published | {"summary_mass": -1, "entropy_e": 0}
    assert directions != published
    assert record["directions"] == "the labels of the calibration testbed"
    assert "memorization" in record["evidence"]
    assert all(one["points"] == one["side"] * one["memorized"] for one in record["scores"])


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["x", "--steps", "0"], 2, "--steps 0: must be at least 1"),
        (["\udcff"], 2, "not valid UTF-8"),
        (["x", *QUICK, "--band", "missing.txt"], 1, "--band missing.txt: cannot be read"),
        (["x", *QUICK, "--band", "missing.csv"], 1, "missing.csv: cannot be read"),
        (["x", *QUICK, "--band", "empty.txt"], 1, "contains no captions"),
        (["x", "--model", "nothing"], 1, "neither a directory"),
    ],
)
def test_an_invalid_request_is_a_one_line_error(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").write_text("\n")
    assert main(arguments) == status
    assert message in capsys.readouterr().err
