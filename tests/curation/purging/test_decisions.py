"""A purge reaches what people decided: statements, notes and reviewers of purged captions."""

import shutil
from pathlib import Path

import pytest

from scanner.curation.name_lists import NameList
from scanner.curation.purging import Purge, purge
from scanner.errors import UserError
from scanner.query import open_run
from scanner.review.book import DecisionBook
from scanner.run import decision_log
from scanner.run.decision_log import DecisionLog
from scanner.run.decisions import Change, Entry, Statement
from scanner.storage import Store
from tests.curation.runs import loudness, make_run, write_rows
from tests.killed_writes import Killed, count_changes

DROP = Statement("verbatim", "drop")
SECRET = Statement("verbatim", "drop", "a secret note")
ROWS = [("loud a", "u1"), ("quiet b", "u2"), ("loud gone", "u3"), ("quiet gone", "u4")]


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of four captions with merged blocks of decisions, the second only about purged ones."""
    monkeypatch.setattr(decision_log, "BLOCK", 3)
    data = write_rows(tmp_path / "data.jsonl", ROWS)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    (tmp_path / "list.csv").write_text("url\nu3\nu4\n")
    a, b, gone, other = (_id(run, caption) for caption, _ in ROWS)
    log = DecisionLog(Store(run))
    for entry in (
        Entry(
            "ann", (Change(DROP, {a: 0.25, gone: 0.25}), Change(SECRET, {other: None})), "sample"
        ),
        Entry("ann", (Change(Statement("none", "keep", "a kept note"), {b: 0.5}),), "sample"),
        Entry("eve", (Change(SECRET, {gone: None}),)),
        *(Entry("eve", (Change(SECRET, {name: None}),)) for name in (gone, other, gone)),
        Entry("eve", (Change(Statement(), {gone: None}),), "undo", undoes=6),
        Entry("ann", (Change(Statement("template", "cap"), {a: None, gone: None}),)),
    ):
        log.append(entry)
    assert len(list((tmp_path / "run/decisions/parts").iterdir())) == 2
    return tmp_path


def _id(run: str, caption: str) -> str:
    rows = open_run(run).query("SELECT caption_id FROM captions WHERE caption = $c", {"c": caption})
    return rows["caption_id"][0].as_py()


def _purged(run: Path | str, folder: Path) -> Purge:
    return purge(str(run), [NameList("gone", str(folder / "list.csv"))])


def _decisions(run: Path | str) -> list[dict]:
    return open_run(str(run)).query("FROM decisions ORDER BY caption_id, reviewer").to_pylist()


def _left(run: Path, *texts: str) -> list[str]:
    table = str(DecisionLog(Store(str(run))).read().to_pylist())
    files = {path.name: path.read_bytes() for path in (run / "decisions").rglob("*.json")}
    return [
        text for text in texts if text in table or any(text.encode() in f for f in files.values())
    ]


@pytest.mark.slow
def test_statements_about_purged_captions_disappear(original: Path) -> None:
    run = original / "run"
    gone = [_id(str(run), caption) for caption, _ in ROWS[2:]]
    before = [row for row in _decisions(run) if row["caption_id"] not in gone]
    assert len(_decisions(run)) > len(before) == 2
    done = _purged(run, original)
    assert done.removed["decisions"] == 8
    assert _left(run, *gone, "eve", "secret") == []
    assert len(list((run / "decisions/parts").iterdir())) == 1
    # The rest is as before: statements, probabilities, numbers, and what an undo takes back.
    assert _decisions(run) == before
    assert [row["sampling_probability"] for row in before if row["label"] == "template"] == [0.25]
    book = DecisionBook(Store(str(run)))
    book.refresh()
    (restored,) = book.undo("ann")
    assert book.statements(restored) == {"ann": DROP}
    table = DecisionLog(Store(str(run))).read()
    assert table["entry"].to_pylist() == [1, 2, 8, 9]
    assert table["undoes"].to_pylist()[-1] == 8


@pytest.mark.slow
def test_a_kill_while_decisions_are_purged_is_finished(original: Path) -> None:
    shutil.copytree(original / "run", original / "whole")
    changes = count_changes(lambda: _purged(original / "whole", original))
    expected = _decisions(original / "whole")
    for kill in range(1, changes, changes // 4):
        run = original / f"killed-{kill}"
        shutil.copytree(original / "run", run)
        with pytest.raises(Killed):
            count_changes(lambda: _purged(run, original), kill)  # noqa: B023
        if (run / "purging/purge.json").exists():
            with pytest.raises(UserError, match="memscan purge was interrupted"):
                DecisionBook(Store(str(run)))
        _purged(run, original)
        assert _left(run, "eve", "secret") == []
        assert _decisions(run) == expected
        names = [
            sorted(path.name for path in (one / "decisions").rglob("*.*"))
            for one in (run, original / "whole")
        ]
        assert names[0] == names[1], kill
        shutil.rmtree(run)
