"""Cautions: captions without a score, rejected rows, a shared image key."""

import json
from pathlib import Path

import pytest

from scanner.curation import Summary, choose_image_key, curate, difference, load_baseline
from scanner.query import open_run
from tests.curation.runs import LOUD, loudness, make_run, policy, rule, write_rows

DROP = policy(rule("loud", LOUD, "drop"))


def curated(run: str, out: Path, given=DROP) -> Summary:
    return curate(run, open_run(run), given, str(out))


@pytest.mark.slow
def test_samples_beyond_the_scans_limit_are_counted(tmp_path: Path) -> None:
    rows = [(f"quiet {k // 2}", None) for k in range(20)]
    data = write_rows(tmp_path / "a.jsonl", rows)
    limited = {"inputs": {"limit": 4}}
    run = make_run(tmp_path / "run", loudness, limited, captions=(str(data),), limit=4)
    summary = curated(run, tmp_path / "o")
    assert summary.actions["keep"] == 20
    record = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert record["unscored"] == {"samples": 12, "captions": 6, "why": ["scan --limit 4"]}
    line = "12  of these: never scored, so no rule can match (6 captions; scan --limit 4)"
    assert line in summary.to_text()


@pytest.mark.slow
def test_rejected_captions_stay_unless_their_image_is_removed(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", [("loud", "u"), ("odd", "u"), ("odd", "v")])

    def score(caption: str) -> float | None:
        return None if caption == "odd" else loudness(caption)

    run = make_run(tmp_path / "run", score, captions=(str(data),))
    summary = curated(run, tmp_path / "o")
    assert summary.actions == {"keep": 1, "drop": 2, "cap": 0, "recaption": 0}
    assert (summary.unscored.samples, summary.unscored.why) == (1, ("1 rejected by the scan",))


@pytest.mark.slow
def test_no_caution_if_every_caption_has_a_score(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", [("loud", "u"), ("quiet", "v")])
    summary = curated(make_run(tmp_path / "run", loudness, captions=(str(data),)), tmp_path / "o")
    assert summary.unscored.samples == 0
    assert "never scored" not in summary.to_text()
    assert "2 samples: 1 (50.0%) to be removed, because of 1 caption\n" in summary.to_text()


@pytest.mark.slow
def test_rejected_rows_count_neither_as_samples_nor_as_changes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("key,caption\na,loud\nb,\nc,quiet\nd,\n")
    (tmp_path / "held.csv").write_text("key,caption\na,other\nb,\n")
    run = make_run(
        tmp_path / "run",
        loudness,
        captions=(f"{tmp_path}/a.csv",),
        reference=(f"{tmp_path}/held.csv",),
    )
    given = policy(rule("loud", LOUD, "drop"), rejects="drop")
    tables = open_run(run)
    summary = curate(run, tables, given, str(tmp_path / "o"))
    assert summary.actions == {"keep": 1, "drop": 1, "cap": 0, "recaption": 0}
    assert summary.removed == 1
    assert summary.rejects == {"rows": 2, "action": "drop"}
    line = "planning rejected 2 rows, not counted above: dropped as well"
    assert line in summary.to_text()
    load_baseline(tables, str(tmp_path / "o"), run)
    assert difference(tables, "itself").changes == []


@pytest.mark.slow
@pytest.mark.parametrize(("same", "warned"), [(9, False), (10, True)])
def test_an_image_key_with_too_many_samples_causes_a_warning(
    tmp_path: Path, same: int, warned: bool
) -> None:
    rows = [("loud", "u"), *((f"quiet {k}", "u" if k < same else f"v{k}") for k in range(1, 50))]
    data = write_rows(tmp_path / "a.jsonl", rows)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    summary = curated(run, tmp_path / "o")
    assert (summary.suspicious_image_key is not None) == warned
    line = f"{same} samples of {same} captions share the image key 'u' and are treated as one image"
    assert (line in summary.to_text()) == warned
    assert ("--image-key none" in summary.to_text()) == warned
    tables = open_run(run)
    choose_image_key(tables, "none")
    assert curate(run, tables, DROP, str(tmp_path / "o")).suspicious_image_key is None


@pytest.mark.slow
def test_one_repeated_caption_and_image_cause_no_warning(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", [("loud", "u")] * 20 + [("quiet", "v")] * 20)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    assert curated(run, tmp_path / "o").suspicious_image_key is None
