"""Policies and removal lists know what people decided."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scanner.curation import Summary, curate, read_policy
from scanner.errors import UserError
from scanner.query import Calibration, binding_of, open_run
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
    nobody = "match nothing: nobody has reviewed a caption yet; see memscan review"
    assert f"people-drop and people-copies {nobody}" in reasons[""]
    assert "reviewed by people" not in reasons[""]


@pytest.mark.parametrize(
    ("when", "remedy"),
    [
        ("decision > 3", "the number that orders ranked is rank_score"),
        ("decision_value > 3", "use rank_value, the new name of decision_value"),
        ("decision_signal = 'combination'", "use rank_signal, the new name of decision_signal"),
    ],
)
def test_an_old_name_in_a_rule_is_an_error_with_the_new_one(
    run: str, tmp_path: Path, when: str, remedy: str
) -> None:
    with pytest.raises(UserError) as caught:
        removed(run, tmp_path / "out", rule("old", when, "drop"))
    assert str(caught.value).startswith(f"rule old: when = {when!r}: ")
    assert str(caught.value).endswith(remedy) or f"{remedy}, or rank_score" in str(caught.value)


@pytest.mark.slow
def test_the_default_policy_follows_people(run: str, tmp_path: Path) -> None:
    tables = open_run(run)
    unreviewed = curate(run, tables, read_policy("default"), str(tmp_path / "before"))
    assert "nothing: nobody has reviewed a caption yet; see memscan review" in unreviewed.to_text()
    decide(run, "ann", "loud a", "none")
    decide(run, "ann", "loud b", "verbatim")
    decide(run, "ann", "loud c", "verbatim", "drop")
    assert people_rules(run, tmp_path) == [1, 1, 1]
    listed = pq.read_table(tmp_path / "out" / "removal_list.parquet").to_pylist()
    of = {row["caption_id"]: row["caption"] for row in tables.query("FROM captions").to_pylist()}
    actions = {(of[row["caption_id"]], row["reasons"][0]): row["action"] for row in listed}
    assert actions["loud c", "people-drop"] == "drop"
    assert "people-cap" in {reason for caption, reason in actions if caption == "loud b"}
    assert "loud a" not in {caption for caption, _ in actions}


@pytest.mark.slow
def test_labels_of_disputed_captions_do_not_count(run: str, tmp_path: Path) -> None:
    decide(run, "ann", "loud a", "none", "keep")
    decide(run, "bob", "loud a", "none", "drop")
    decide(run, "ann", "loud b", "verbatim", "cap")
    decide(run, "bob", "loud b", "template", "cap")  # they agree about what to do
    assert people_rules(run, tmp_path) == [0, 0, 1]


def people_rules(run: str, folder: Path) -> list[int]:
    """The number of captions that match each rule of the default policy on what people said."""
    policy = read_policy("default")
    summary = curate(run, open_run(run), policy, str(folder / "out"), force=True)
    return [summary.by_rule[f"people-{name}"].captions for name in ("keep", "drop", "cap")]


@pytest.mark.slow
def test_captions_that_people_chose_are_no_guesses(run: str, tmp_path: Path) -> None:
    binding = binding_of(open_run(run).fingerprint)
    calibration = Calibration("by hand", binding, {"noise_norm_first": (1.0,)}, -8.0, ())

    def summary_of() -> Summary:
        tables = open_run(run, calibration=calibration)
        return curate(run, tables, policy(rule("loud", LOUD, "drop")), str(tmp_path), force=True)

    before = summary_of()
    decide(run, "ann", "loud c", "verbatim")
    after = summary_of()
    assert (before.captions_removed, before.reviewed_captions) == (3, 0)
    assert (after.captions_removed, after.reviewed_captions) == (3, 1)
    assert after.expected_false_captions == pytest.approx(2 * before.expected_false_captions / 3)
    assert after.expected_false_discovery_rate == pytest.approx(
        before.expected_false_discovery_rate
    )
    assert "of 2 captions" in after.to_text()
    assert "; not counting 1 caption that people chose" in after.to_text()
