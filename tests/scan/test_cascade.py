"""Triage everything, then score thoroughly what it flags, then the trajectory: three commands."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local_ray import local_ray
from tests.memscan import called
from tests.whole_scans import SCAN, scores, status, write_captions


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("cascade")
    write_captions(folder / "captions.csv", rows=200, distinct=60)
    runs = [str(folder / name) for name in ("triage", "thorough", "trajectory")]
    scan = (*SCAN, "--steps", "5")
    with local_ray():
        called(
            *scan,
            "--captions",
            str(folder / "captions.csv"),
            "--out",
            runs[0],
            "--profile",
            "triage",
        )
        half = "entropy_e > (SELECT median(entropy_e) FROM scores)"
        flagged = ("--captions-from", runs[0], "--where", half)
        again = ("scan", "--device", "cpu", "--steps", "5", *flagged)  # the first stage's model
        rescan = called(*again, "--out", runs[1], "--profile", "thorough", "--seeds", "1")
        assert f"model testbed: from {runs[0]}" in rescan.stderr
        few = ("--captions-from", runs[1], "--where", "noise_norm_first > 0", "--limit", "7")
        called(*scan, *few, "--out", runs[2], "--profile", "trajectory")
        yield runs


def test_each_stage_scores_what_the_one_before_flagged(stages: list[str]) -> None:
    triage, thorough, trajectory = (scores(run) for run in stages)
    assert (len(triage), len(thorough), len(trajectory)) == (60, 30, 7)
    middle = sorted(row["entropy_e"] for row in triage.values())[30]
    assert thorough.keys() == {k for k, row in triage.items() if row["entropy_e"] >= middle}
    assert set(trajectory) <= set(thorough)
    for key, row in thorough.items():
        assert row["entropy_e"] == pytest.approx(triage[key]["entropy_e"], abs=1e-5)
    for key, row in trajectory.items():
        assert row["entropy_e"] == pytest.approx(triage[key]["entropy_e"], abs=1e-5)
        assert "entropy_d" in row


def test_a_cascade_copies_samples_to_keep_counts_right(stages: list[str]) -> None:
    query = "SELECT caption_id, n_samples FROM captions ORDER BY ALL"
    first, second = (json.loads(called("sql", run, query, "--json").stdout) for run in stages[:2])
    assert len(second) == 30
    assert all(row in first for row in second)


def test_a_triage_run_ranks_by_bos_mass_and_shows_no_noise_norm(stages: list[str]) -> None:
    rows = json.loads(called("rank", stages[0], "--top", "3", "--json").stdout)
    assert {row["signal"] for row in rows} == {"bos_mass"}
    for norm in ("noise_norm_low", "noise_norm_first"):
        assert {row[norm] for row in rows} == {None}


def test_nothing_flagged_and_a_wrong_predicate_are_clear_errors(
    stages: list[str], tmp_path: Path
) -> None:
    scan = (*SCAN, "--captions-from", stages[0])
    scan += ("--out", str(tmp_path / "r"))
    nothing = called(*scan, "--where", "entropy_e > 99", check=False)
    assert nothing.returncode == 1
    assert "no caption matches --where" in nothing.stderr
    wrong = called(*scan, "--where", "no_such > 1", check=False)
    assert wrong.returncode == 1
    assert "no_such" in wrong.stderr
    assert "another configuration" not in wrong.stderr, "what was not planned keeps no place"
    assert not (tmp_path / "r/run.json").exists()


def test_only_given_signals_and_status_3_for_many_rejects(
    stages: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("caption,key\ngood one,1\n,2\nbroken\n")
    out = str(tmp_path / "run")
    scan = (*SCAN, "--captions", str(tmp_path / "a.csv"), "--out", out)
    scan += ("--signals", "cosine_low_noise", "entropy_e")
    plan = json.loads(called(*scan, "--dry-run", "--json").stdout)
    assert any("up to layer 3" in line for line in plan["schedule"])
    assert any(line.startswith("the low-noise step") for line in plan["schedule"])
    done = called(*scan, check=False)
    assert done.returncode == 3
    assert "2 of 3 rows were rejected" in done.stderr
    assert status(out)["rejects"] == {"empty caption": 1, "bad row": 1}
    (row,) = scores(out).values()
    assert {"entropy_e", "cosine_low_noise"} <= row.keys()
    assert not {"noise_norm_first", "noise_norm_low"} & row.keys()
