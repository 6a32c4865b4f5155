"""Whole scans of the testbed model, as a user starts them, in their own processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from scanner.run import Run
from scanner.scan.config import ScanConfig
from scanner.scan.drive import scan
from scanner.storage import Store
from tests.whole_scans import assert_same, memscan, scores


def test_a_scan_gives_one_row_a_caption_and_status_says_so(undisturbed: str) -> None:
    assert len(scores(undisturbed)) == 400
    found = json.loads(memscan("status", undisturbed, "--json").stdout)
    assert found["sealed"]
    assert found["captions"] == 400
    assert found["samples"] == 3000
    assert found["slices"]["committed"] == found["slices"]["planned"]


def test_a_finished_run_returns_at_once(undisturbed: str, data: Path) -> None:
    again = memscan("scan", "--model", "testbed", "--captions", str(data), "--out", undisturbed)
    assert "finished already" in again.stderr
    assert len(Store(undisturbed).names("scores")) == len(Run.existing(undisturbed).commits.all())


def test_another_configuration_on_the_same_directory_is_refused(
    undisturbed: str, data: Path
) -> None:
    other = ("scan", "--model", "testbed", "--captions", str(data), "--out", undisturbed)
    refused = memscan(*other, "--seeds", "3", check=False)
    assert refused.returncode == 1
    assert "seeds (1 there, 3 here)" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_kill_9_of_the_driver_and_the_same_command_again_gives_the_same_table(
    undisturbed: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "jobs.cli", "scan", "--model", "testbed"),
        *("--captions", str(data), "--out", str(out), "--slice-captions", "20", "--actors", "2"),
    ]
    for commits_wanted in (0, 3, 8):
        driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        folder = out / "commits" if commits_wanted else out
        deadline = time.monotonic() + 120
        while driver.poll() is None and time.monotonic() < deadline:
            made = list(folder.glob("*.json")) if folder.exists() else []
            if len(made) >= max(commits_wanted, 1):
                break
            time.sleep(0.02)
        assert driver.poll() is None, "the scan ended before it could be killed"
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert Run.existing(str(out)).manifest() is None
    last = memscan(*command[3:])
    assert "going on" in last.stderr
    assert_same(scores(str(out)), scores(undisturbed))


def test_planning_on_the_pool_gives_the_same_run(
    undisturbed: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanner.scan.plan_scan.POOL_FROM", 1)
    out = str(tmp_path / "run")
    try:
        scan(ScanConfig(captions=(str(data),), out=out, model="testbed"), print, lambda _: None)
    finally:
        ray.shutdown()
    planned = Run.existing(out).store.names("planning/0000/read")
    read = json.loads(Run.existing(out).store.read(planned[0]))
    assert ":" in read["notes"]["worker"]  # an actor's
    assert_same(scores(out), scores(undisturbed))


def test_extending_a_run_scores_only_what_is_new(data: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_text("caption\na new one\n" + data.read_text().splitlines()[1] + "\n")
    out = str(tmp_path / "run")
    first = ("scan", "--model", "testbed", "--captions", str(data), "--out", out)
    memscan(*first)
    both = ("scan", "--model", "testbed", "--captions", str(data), str(more), "--out", out)
    assert "different are: captions" in memscan(*both, check=False).stderr
    memscan(*both, "--extend")
    assert len(scores(out)) == 401
    assert len(Store(out).names("scores")) == len(Run.existing(out).commits.all())
    samples = memscan("sql", out, "SELECT count(*) AS n FROM samples", "--json").stdout
    assert json.loads(samples) == [{"n": 3002}]
    assert "has read these files already" in memscan(*both, "--extend").stderr
    assert "finished already" in memscan(*first).stderr


def test_scan_reads_and_writes_s3(undisturbed: str, data: Path, s3: str) -> None:
    store = Store(f"{s3}/set")
    store.upload(data, "captions.csv")
    out = f"{s3}/runs/one"
    memscan("scan", "--model", "testbed", "--captions", f"{s3}/set/*.csv", "--out", out)
    assert_same(scores(out), scores(undisturbed))
    rows = json.loads(memscan("rank", out, "--top", "3", "--json").stdout)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    counted = memscan("sql", out, "SELECT count(*) AS n FROM samples", "--json")
    assert json.loads(counted.stdout) == [{"n": 3000}]


def test_dry_run_tells_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ("scan", "--model", "testbed", "--captions", str(data), "--out", str(out))
    found = json.loads(memscan(*command, "--dry-run", "--json").stdout)
    assert found["counts"]["captions"] == 400
    assert found["gflop_per_caption"] > 0
    assert found["preflight"] == "1 of 16 racing writers won"
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_too_many_rejects_are_exit_status_3_and_say_what(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption,key\ngood one,1\n,2\nbroken\n")
    out = str(tmp_path / "run")
    command = ("scan", "--model", "testbed", "--captions", str(tmp_path / "a.csv"), "--out", out)
    done = memscan(*command, check=False)
    assert done.returncode == 3
    assert "2 of 3 rows were rejected" in done.stderr
    rejects = json.loads(memscan("status", out, "--json").stdout)["rejects"]
    assert rejects == {"empty caption": 1, "bad row": 1}
