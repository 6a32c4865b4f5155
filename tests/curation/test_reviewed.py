"""Policies and removal lists know what people decided."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scanner.curation import curate
from scanner.errors import UserError
from scanner.query import open_run
from scanner.run.decision_log import DecisionLog
from scanner.run.decisions import Change, Entry, Statement
from scanner.storage import Store
from tests.curation.runs import LOUD, ROWS, loudness, make_run, policy, rule, write_rows


@pytest.fixture
def run(tmp_path: Path) -> str:
    data = write_rows(tmp_path / "a.jsonl", ROWS)
    return make_run(tmp_path / "run", loudness, captions=(str(data),), keep=("url",))


def decide(run: str, reviewer: str, caption: str, *stated: str) -> None:
    """Append a decision; ``stated``: a label, or a choice."""
    texts = open_run(run).query("SELECT caption, caption_id FROM captions").to_pylist()
    ids = {row["caption"]: row["caption_id"] for row in texts}
    change = Change(Statement(*stated), {ids[caption]: None})
    DecisionLog(Store(run)).append(Entry(reviewer, (change,)))


def removed(run: str, out: Path, *rules: dict) -> tuple[set[str], dict]:
    tables = open_run(run)
    chosen = policy(*rules)
    summary = curate(run, tables, chosen, str(out), force=True)
    listed = pq.read_table(out / "removal_list.parquet").to_pylist()
    captions = {
        row["caption_id"]: row["caption"]
        for row in tables.query("SELECT caption_id, caption FROM captions").to_pylist()
    }
    lines = {captions[row["caption_id"]] for row in listed if row["action"] in ("drop", "cap")}
    return lines, {captions[row["caption_id"]]: row["reasons"] for row in listed} | {
        "": summary.to_text()
    }


KEEP = rule("people-keep", "decision = 'keep'", "keep")
DROP = rule("people-drop", "decision = 'drop'", "drop")
COPIES = rule("people-copies", "label IN ('verbatim', 'template')", "cap")


@pytest.mark.slow
def test_rules_follow_people(run: str, tmp_path: Path) -> None:
    decide(run, "ann", "loud a", "none", "keep")
    decide(run, "ann", "quiet", "verbatim", "drop")
    decide(run, "bob", "loud b", "verbatim", "drop")
    decide(run, "ann", "loud b", "none", "keep")
    lines, reasons = removed(run, tmp_path / "out", KEEP, DROP, rule("loud", LOUD, "drop"))
    assert "loud a" not in lines
    assert {"quiet", "loud b", "loud c"} <= lines
    assert reasons["quiet"] == ["people-drop", "reviewed-drop", "reviewed-verbatim"]
    assert reasons["loud b"] == ["loud", "reviewed-disputed"]
    assert reasons["loud c"] == ["loud"]
    assert "reviewed by people: 3 captions (keep 1, cap 0, drop 1, disputed 1)" in reasons[""]


@pytest.mark.slow
def test_a_list_against_people_warns(run: str, tmp_path: Path) -> None:
    decide(run, "ann", "loud a", "none", "keep")
    decide(run, "ann", "quiet", "verbatim", "drop")
    _, reasons = removed(run, tmp_path / "out", rule("loud", LOUD, "drop"))
    assert "1 caption that people keep would lose samples" in reasons[""]


@pytest.mark.slow
def test_rules_on_decisions_of_nobody_say_so(run: str, tmp_path: Path) -> None:
    _, reasons = removed(run, tmp_path / "out", DROP, COPIES)
    assert "people-drop" in reasons[""]
    assert reasons[""].count("matches nothing: nobody has") == 2
    assert "reviewed by people" not in reasons[""]


def test_a_number_as_decision_is_refused(run: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rule old: when = 'decision > 3'"):
        removed(run, tmp_path / "out", rule("old", "decision > 3", "drop"))
