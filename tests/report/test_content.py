"""The content of a report, from a run's tables."""

from pathlib import Path

import pyarrow as pa
import pytest

from scanner.calibration import Labels
from scanner.curation import read_policy
from scanner.errors import UserError
from scanner.query import Coverage, RunTables, open_run
from scanner.report import gather, render_report
from scanner.run import Output
from scanner.run.verdicts import FOLDER, TABLES, VERDICTS, verdict_commits
from scanner.storage import Store
from tests.query.runs import SCORES, make_run
from tests.sealed import seal_run

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
    record = {
        "options": {"scoring": {"profile": "standard"}},
        "model": {"name": "testbed", "revision": None},
    }
    fingerprint = {"seeds": 1, "steps": 50, "guidance": 7.5, "dtype": "float32"}
    return make_run(tmp_path / "run", rows, record=record, fingerprint=fingerprint)


def pluralize(tables: RunTables, run: str, labels: Labels | None) -> dict[str, int]:
    """Count captions by kind in the histogram of one signal."""
    found = gather(run, tables, read_policy("default"), None, 10, labels)
    kinds: dict[str, int] = {}
    for row in found.bins:
        if row["signal"] == "entropy_e":
            kinds[row["kind"]] = kinds.get(row["kind"], 0) + row["captions"]
    return kinds


@pytest.mark.slow
def test_labeled_captions_are_shown_separately(run: str) -> None:
    labels = Labels("caption", list(TEXTS), [True, True, False, True], [None] * 4)
    found = pluralize(open_run(run), run, labels)
    assert found == {"memorized, by label": 2, "other captions": 1}


@pytest.mark.slow
def test_without_labels_and_verdicts_there_is_one_kind(run: str) -> None:
    assert pluralize(open_run(run), run, None) == {"other captions": 3}


@pytest.mark.slow
def test_captions_of_a_reproduced_image_are_named_and_escaped(run: str) -> None:
    verdict = {
        "caption_id": "f",
        "verdict": "seed-consistent",
        "n_references": 1,
        "images": [],
        "source_match": "other",
        "source_keys": ["<b>key"],
        "source_similarities": [0.97],
        "source_caption_ids": ["a", "t"],
        "verified_at": 1.0,
    }
    table = pa.Table.from_pylist([verdict], VERDICTS)
    verdict_commits(Store(run)).commit("v", [Output(f"{FOLDER}/{TABLES}", table)])
    found = gather(run, open_run(run), read_policy("default"), None, 10)
    rows = {row["caption"]: row for row in found.rows}
    assert rows["first of all"]["source_captions"] == ["another one", "third thing"]
    assert "source_captions" not in rows["another one"]
    page = render_report(found, None, "memscan report")
    assert "reproduces the training image <bdi>&lt;b&gt;key</bdi> (cosine 0.97)" in page
    assert page.count("which is not its own; it belongs to") == 1


def test_labels_of_other_captions_are_refused(run: str) -> None:
    labels = Labels("caption", ["elsewhere"], [True], [None])
    with pytest.raises(UserError, match="none matches a caption"):
        pluralize(open_run(run), run, labels)


@pytest.mark.slow
def test_unscored_captions_are_counted_by_reason(tmp_path: Path) -> None:
    """Five captions in ten samples: two beyond the limit, one rejected, one quarantined."""
    trained, planned = "abcde", "abcr"
    samples = [{"caption_id": name} for name in trained * 2]
    samples.append({"caption_id": "r", "is_reference": True})
    captions = [
        {"caption_id": name, "caption": name, "is_reference": name == "r"} for name in planned
    ]
    scores = pa.Table.from_pylist(
        [
            {
                "caption_id": name,
                "noise_norm_first": 1.0,
                "triggers": [],
                "seeds": 1,
                "truncated": False,
            }
            for name in "ar"
        ],
        SCORES,
    )
    rejects = [{"caption_id": "b", "stage": "scan", "reason": "nothing: to score"}]
    record = {"inputs": {"limit": 3}, "options": {}, "model": {}}
    run = seal_run(tmp_path / "run", samples, captions, scores, rejects=rejects, record=record)
    found = gather(run, open_run(run), read_policy("default"), None, 10).scanned
    assert found == Coverage(
        samples=10, captions=5, planned=3, scored=1, rejected=1, limit=3, references=1
    )
    assert found.unscored == ("scan --limit 3", "1 rejected by the scan", "1 quarantined")


@pytest.mark.slow
def test_a_limit_above_the_caption_count_is_not_a_reason(tmp_path: Path) -> None:
    rows = [{"caption_id": "a", "caption": "a", "entropy_e": 1.0}]
    record = {"inputs": {"limit": 9}, "options": {}, "model": {}}
    run = make_run(tmp_path / "run", rows, record=record)
    assert gather(run, open_run(run), read_policy("default"), None, 10).scanned.unscored == ()


@pytest.mark.slow
def test_the_policy_table_describes_each_rule(run: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        'name = "mine"\nversion = 1\n'
        '[[rule]]\nreason = "first"\nwhen = "caption LIKE \'first%\'"\naction = "recaption"\n'
        '[[rule]]\nreason = "loud"\nwhen = "noise_norm_first < 2"\naction = "cap"\nkeep = 2\n'
    )
    found = gather(run, open_run(run), read_policy(str(file)), None, 10)
    first, loud = found.rules
    assert (first.when, first.captions, first.recaption) == ("caption LIKE 'first%'", 1, 1)
    assert first.effect.startswith("recaption: keeps all samples")
    assert loud.effect == "cap: keeps 2 samples per caption"
    assert (loud.captions, loud.removed, loud.recaption) == (2, 0, 0)
