"""Inputs on the hub are read at one commit."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.storage import Listing
from scanner.storage.hub_revisions import pinned, without_revision
from tests.hub import REVISION, Hub, serving
from tests.memscan import called
from tests.whole_scans import SCAN

NAME = "hf://datasets/someone/captions"
LATER = "f" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "hub/someone/captions/train"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("caption\na cat\na dog\n")
    with serving(tmp_path / "hub", tmp_path / "home", monkeypatch) as hub:
        yield hub


@pytest.mark.parametrize(
    ("url", "commit"),
    [
        (NAME, REVISION),
        (f"{NAME}@main/train", f"{REVISION}/train"),
        (f"{NAME}@refs%2Fconvert%2Fparquet/train", f"{REVISION}/train"),
        (f"{NAME}@refs/pr/1/train/*.csv", f"{REVISION}/train/*.csv"),
        (f"{NAME}@{LATER}/train", f"{LATER}/train"),
    ],
)
def test_a_revision_becomes_its_commit(hub: Hub, url: str, commit: str) -> None:
    assert pinned(url) == f"{NAME}@{commit}"


@pytest.mark.parametrize(
    "url", ["s3://bucket/a@main/b", "/tmp/a@b", "https://h.example/hf://a/b@c"]
)
def test_other_locations_are_left_alone(url: str) -> None:
    assert pinned(url) == url


@pytest.mark.parametrize("revision", ["", "@main", f"@{LATER}", "@refs/pr/12", "@refs%2Fpr%2F12"])
@pytest.mark.parametrize("path", ["", "/train/a@b.csv"])
def test_a_file_is_the_same_at_any_revision(revision: str, path: str) -> None:
    assert without_revision(f"{NAME}{revision}{path}") == f"{NAME}{path}"
    assert without_revision(f"hf://someone/model{revision}{path}") == f"hf://someone/model{path}"


def test_a_name_with_an_at_sign_is_not_a_revision() -> None:
    for url in ("hf://someone/model/a@b.csv", f"{NAME}/a@b.csv", "hf://buckets/someone/c/a@b.csv"):
        assert without_revision(url) == url


def test_files_of_an_earlier_commit_are_not_read_again(hub: Hub) -> None:
    (first,) = Listing().add([NAME], lambda *_: "")
    assert first == f"{NAME}@{REVISION}/train/a.csv"
    hub.revision = LATER
    (hub.folder / "someone/captions/train/b.csv").write_text("caption\na bird\n")
    listing = Listing()
    listing.leave_out([first])
    assert listing.add([NAME], lambda *_: "") == [f"{NAME}@{LATER}/train/b.csv"]


def test_a_repository_that_may_not_be_read_is_an_error(hub: Hub) -> None:
    with pytest.raises(UserError, match=r"no such repository on the hub, or it is private.*HF_TOK"):
        pinned("hf://datasets/someone/else")
    hub.is_gated = True
    for revision in ("", f"@{LATER}"):
        with pytest.raises(UserError, match=r"gated; accept its terms .*/someone/captions\)"):
            pinned(f"{NAME}{revision}/train")


@pytest.mark.slow
def test_a_scan_records_the_commit_that_it_read(hub: Hub, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    called(*SCAN, "--captions", NAME, "--out", out)
    shown = called("sql", out, "SELECT DISTINCT source FROM samples", "--json").stdout
    assert json.loads(shown) == [{"source": f"{NAME}@{REVISION}/train/a.csv"}]
    again = called(*SCAN, "--captions", NAME, "--out", out)
    assert "is finished" in again.stderr
