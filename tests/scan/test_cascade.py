"""Triage everything, then score thoroughly what it flags, then the trajectory: three commands."""

import json
from pathlib import Path

import pytest

from tests.whole_scans import memscan, scores, write_captions


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("cascade")
    write_captions(folder / "captions.csv", rows=200, distinct=60)
    runs = [str(folder / name) for name in ("triage", "thorough", "trajectory")]
    scan = ("scan", "--model", "testbed", "--steps", "5")
    memscan(
        *scan, "--captions", str(folder / "captions.csv"), "--out", runs[0], "--profile", "triage"
    )
    half = "entropy_e > (SELECT median(entropy_e) FROM scores)"
    flagged = ("--captions-from", runs[0], "--where", half)
    memscan(*scan, *flagged, "--out", runs[1], "--profile", "thorough", "--seeds", "1")
    few = ("--captions-from", runs[1], "--where", "noise_norm_first > 0", "--limit", "7")
    memscan(*scan, *few, "--out", runs[2], "--profile", "trajectory")
    return runs


def test_each_stage_scores_what_the_one_before_flagged(stages: list[str]) -> None:
    triage, thorough, trajectory = (scores(run) for run in stages)
    assert (len(triage), len(thorough), len(trajectory)) == (60, 30, 7)
    middle = sorted(row["entropy_e"] for row in triage.values())[30]
    assert thorough.keys() == {k for k, row in triage.items() if row["entropy_e"] >= middle}
    assert set(trajectory) <= set(thorough)
    for key, row in trajectory.items():
        assert row["entropy_e"] == pytest.approx(triage[key]["entropy_e"], abs=1e-5)
        assert "entropy_d" in row


def test_samples_come_along_so_that_counts_stay_true(stages: list[str]) -> None:
    query = "SELECT caption_id, n_samples FROM captions ORDER BY ALL"
    first, second = (json.loads(memscan("sql", run, query, "--json").stdout) for run in stages[:2])
    assert len(second) == 30
    assert all(row in first for row in second)


def test_with_joins_the_stages(stages: list[str]) -> None:
    query = (
        "SELECT count(*) AS n, max(abs(a.entropy_e - b.entropy_e)) AS gap "
        "FROM scores AS a JOIN triage.scores AS b USING (caption_id)"
    )
    done = memscan("sql", stages[1], query, "--with", f"triage={stages[0]}", "--json")
    (row,) = json.loads(done.stdout)
    assert row["n"] == 30
    assert row["gap"] < 1e-5


def test_a_triage_run_ranks_by_entropy_and_shows_no_noise_norm(stages: list[str]) -> None:
    rows = json.loads(memscan("rank", stages[0], "--top", "3", "--json").stdout)
    assert {row["signal"] for row in rows} == {"entropy_e"}
    assert {row["noise_norm_first"] for row in rows} == {None}


def test_nothing_flagged_and_a_wrong_predicate_are_clear_errors(
    stages: list[str], tmp_path: Path
) -> None:
    scan = (
        "scan",
        "--model",
        "testbed",
        "--captions-from",
        stages[0],
        "--out",
        str(tmp_path / "r"),
    )
    nothing = memscan(*scan, "--where", "entropy_e > 99", check=False)
    assert nothing.returncode == 1
    assert "no caption fulfils --where" in nothing.stderr
    wrong = memscan(*scan, "--where", "no_such > 1", check=False)
    assert wrong.returncode == 1
    assert "no_such" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_asked_signals_are_the_only_ones_and_the_dry_run_shows_their_forwards(
    tmp_path: Path,
) -> None:
    write_captions(tmp_path / "c.csv", rows=5, distinct=5)
    scan = ("scan", "--model", "testbed", "--captions", str(tmp_path / "c.csv"))
    scan += ("--out", str(tmp_path / "run"), "--signals", "cosine_low_noise", "entropy_e")
    found = json.loads(memscan(*scan, "--dry-run", "--json").stdout)
    assert any("up to layer 3" in line for line in found["schedule"])
    assert any(line.startswith("low-noise step") for line in found["schedule"])
    memscan(*scan)
    (row, *_) = scores(str(tmp_path / "run")).values()
    assert {"entropy_e", "cosine_low_noise"} <= row.keys()
    assert "noise_norm_first" not in row
