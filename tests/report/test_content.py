"""What a report says is known of the captions."""

from pathlib import Path

import pytest

from scanner.calibration import Labels
from scanner.curation import read_policy
from scanner.errors import UserError
from scanner.query import RunTables, open_run
from scanner.report import gather
from tests.query.runs import make_run

TEXTS = ("first of all", "another one", "third thing", "held out")


@pytest.fixture
def run(tmp_path: Path) -> str:
    rows = [
        {
            "caption_id": text[0],
            "caption": text,
            "noise_norm_first": float(number),
            "entropy_e": 1.0,
            "is_reference": text == "held out",
        }
        for number, text in enumerate(TEXTS)
    ]
    record = {"asked": {}, "model": {}}
    return make_run(tmp_path / "run", rows, record=record)


def counted(tables: RunTables, run: str, labels: Labels | None) -> dict[str, int]:
    """Captions by what is known of them, in the histogram of one signal."""
    found = gather(run, tables, read_policy("default"), None, 10, labels)
    kinds: dict[str, int] = {}
    for row in found.bins:
        if row["signal"] == "entropy_e":
            kinds[row["kind"]] = kinds.get(row["kind"], 0) + row["captions"]
    return kinds


def test_labels_set_the_memorized_captions_apart(run: str) -> None:
    labels = Labels("caption", list(TEXTS), [True, True, False, True], [None] * 4)
    found = counted(open_run(run), run, labels)
    assert found == {"memorized, by label": 2, "other captions": 1}


def test_without_labels_and_verdicts_all_captions_are_of_one_kind(run: str) -> None:
    assert counted(open_run(run), run, None) == {"other captions": 3}


def test_labels_of_other_captions_are_refused(run: str) -> None:
    labels = Labels("caption", ["elsewhere"], [True], [None])
    with pytest.raises(UserError, match="0 of them found"):
        counted(open_run(run), run, labels)
