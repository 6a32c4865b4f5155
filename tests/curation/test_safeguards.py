"""Limits per source and cluster, and the summary of rules that match nothing."""

from pathlib import Path

import pytest

from scanner.curation import LimitExceeded, curate
from scanner.query import RunTables, open_run
from tests.curation.runs import LOUD, ROWS, loudness, make_run, policy, rule, write_rows


@pytest.mark.slow
def test_a_source_that_loses_too_much_needs_force(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    given = policy(rule("loud", LOUD, "drop"), limits={"source": 0.5})
    with pytest.raises(
        LimitExceeded, match=r"10 of 12 samples \(83.3%\) of .*a.jsonl; .*Nothing was written$"
    ) as refused:
        curate(run, tables, given, str(tmp_path / "o"))
    assert refused.value.summary.removed == 10
    assert not (tmp_path / "o").exists()
    assert curate(run, tables, given, str(tmp_path / "o"), force=True).removed == 10
    with pytest.raises(LimitExceeded, match=r"written; .*/o still has the earlier list$"):
        curate(run, tables, given, str(tmp_path / "o"))


@pytest.mark.slow
def test_sources_over_the_limit_have_the_summary_s_names(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.csv").write_text("caption\nloud\n" + "quiet\n" * number)
    run = make_run(tmp_path / "run", loudness, captions=(f"{tmp_path}/*.csv",))
    given = policy(rule("loud", LOUD, "drop"), limits={"source": 0.18, "cluster": 1})
    with pytest.raises(LimitExceeded) as refused:
        curate(run, open_run(run), given, str(tmp_path / "o"))
    said = f"1 of 1 sample (100.0%) of {tmp_path}/0.csv; limits.source allows 18%; also "
    said += f"exceeded by {tmp_path}/1.csv (50.0%), {tmp_path}/2.csv (33.3%) and 2 other sources"
    assert said in str(refused.value)
    shown = [line for line in refused.value.summary.to_text().splitlines() if "csv" in line]
    assert [line.split(":")[0].rsplit("/")[-1] for line in shown] == ["0.csv", "1.csv", "2.csv"]
    assert "and from 3 other sources" in refused.value.summary.to_text()


@pytest.mark.slow
def test_one_cluster_cannot_lose_most_of_the_data_set(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    given = policy(rule("loud", LOUD, "cap"), limits={"source": 1, "cluster": 0.3})
    with pytest.raises(LimitExceeded, match=r"5 samples of cluster .* 41.7% of all samples"):
        curate(run, tables, given, str(tmp_path / "o"))


@pytest.mark.slow
def test_the_summary_names_what_a_rule_needs_and_the_run_lacks(
    run: str, tables: RunTables, tmp_path: Path
) -> None:
    given = policy(rule("copy", "verdict = 'verbatim'", "drop"), rule("loud", LOUD, "cap"))
    summary = curate(run, tables, given, str(tmp_path))
    assert "memscan verify" in summary.by_rule["copy"].missing
    assert not summary.by_rule["loud"].missing
    assert summary.expected_false_removals is None
    text = summary.to_text()
    assert "no calibration for this run" in text
    assert f"{len(ROWS)} samples: 7 (58.3%) to be removed, because of 2 captions" in text


@pytest.mark.slow
def test_a_surprise_rule_without_matches_states_the_best_value(
    tmp_path: Path,
) -> None:
    data = write_rows(tmp_path / "a.jsonl", [("loud", "u"), ("quiet", "v")])
    held_out = write_rows(tmp_path / "h.jsonl", [(f"held out {k}", f"x{k}") for k in range(9)])
    run = make_run(tmp_path / "run", loudness, captions=(str(data),), reference=(str(held_out),))
    given = policy(
        rule("null", "probability IS NULL AND q_value <= 0.1", "cap"),
        rule("likely", "probability >= 0.5", "cap"),
        rule("odd", "p_value < 0.05 AND q_value IS NOT NULL", "cap"),
    )
    summary = curate(run, open_run(run), given, str(tmp_path / "o"))
    assert {reason: found.missing for reason, found in summary.by_rule.items()} == {
        "null": "the lowest q_value is 0.2, with 9 reference captions",
        "likely": "no probability without --calibration",
        "odd": "the lowest p_value is 0.1 and the lowest q_value is 0.2, with 9 reference captions",
    }
    assert "expected false removals: 0, because nothing is removed" in summary.to_text()
