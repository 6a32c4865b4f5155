"""Whole scans of the testbed model, as a user starts them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scanner.run import Run
from scanner.scan.config import ScanConfig
from scanner.scan.opening import open_scan
from scanner.scan.scan import run_scan
from scanner.storage import Store
from tests.forking import forking_python
from tests.local_ray import local_ray
from tests.memscan import called
from tests.whole_scans import SCAN, assert_same, scores, write_captions


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    """What scans in this process share."""
    with local_ray():
        yield


def test_a_scan_writes_one_row_per_caption(undisturbed: str) -> None:
    assert len(scores(undisturbed)) == 400
    state = json.loads(called("status", undisturbed, "--json").stdout)
    assert state["sealed"]
    assert state["captions"] == 400
    assert state["samples"] == 3000
    assert state["slices"]["committed"] == state["slices"]["planned"]


def test_a_finished_run_is_left_alone(undisturbed: str, data: Path) -> None:
    again = called(*SCAN, "--captions", str(data), "--out", undisturbed)
    assert "is finished" in again.stderr
    assert len(Store(undisturbed).names("scores")) == len(Run.existing(undisturbed).commits.all())


def test_another_configuration_on_the_same_directory_is_refused(
    undisturbed: str, data: Path
) -> None:
    other = (*SCAN, "--captions", str(data), "--out", undisturbed)
    refused = called(*other, "--seeds", "3", check=False)
    assert refused.returncode == 1
    assert "seeds (run: 1, given: 3)" in refused.stderr


def test_a_killed_driver_resumes_to_the_same_table(
    undisturbed: str, data: Path, tmp_path: Path
) -> None:
    """Once while it plans, once while it scores."""
    out = tmp_path / "run"
    words = (
        *(*SCAN, "--captions", str(data), "--out", str(out)),
        *("--slice-captions", "20", "--actors", "1"),
    )
    for commits_wanted in (0, 4):
        driver = subprocess.Popen(
            [forking_python(), "-m", "jobs.cli", *words],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        folder = out / "commits" if commits_wanted else out
        made: list[Path] = []
        deadline = time.monotonic() + 300
        while len(made) < max(commits_wanted, 1) and driver.poll() is None:
            assert time.monotonic() < deadline, "nothing to kill"
            made = list(folder.glob("*.json")) if folder.exists() else []
            time.sleep(0.02)
        assert driver.poll() is None, "the scan ended before it could be killed"
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert Run.existing(str(out)).manifest() is None
    assert "resuming" in called(*words).stderr
    assert_same(scores(str(out)), scores(undisturbed))


def test_planning_on_the_pool_gives_the_same_run(
    undisturbed: str, data: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    options = ScanConfig(captions=(str(data),), out=out, model="testbed", device="cpu")
    run_scan(open_scan(options), lambda _: None, pool_from=1)
    planned = Run.existing(out).store.names("planning/0000/read")
    read = json.loads(Run.existing(out).store.read(planned[0]))
    assert not read["notes"]["worker"].endswith(f":{os.getpid()}")  # an actor's
    assert_same(scores(out), scores(undisturbed))


def test_extending_a_run_scores_only_what_is_new(tmp_path: Path) -> None:
    few, more, out = (str(tmp_path / name) for name in ("few.csv", "more.csv", "run"))
    write_captions(Path(few), rows=60, distinct=60)
    known = Path(few).read_text().splitlines()[1]
    Path(more).write_text(f"caption\na new one\n{known}\n")
    called(*SCAN, "--captions", few, "--out", out)
    both = (*SCAN, "--captions", few, more, "--out", out)
    assert "differences: captions" in called(*both, check=False).stderr
    called(*both, "--extend")
    assert len(scores(out)) == 61
    assert len(Store(out).names("scores")) == len(Run.existing(out).commits.all())
    samples = called("sql", out, "SELECT count(*) AS n FROM samples", "--json").stdout
    assert json.loads(samples) == [{"n": 62}]
    assert "has read these files already" in called(*both, "--extend").stderr
    Path(tmp_path / "other.csv").write_text("Beschreibung\nein roter Hund\n")
    other = (*SCAN, "--captions", str(tmp_path / "other.csv"), "--out", out, "--extend")
    assert "name it with --caption-column" in called(*other, check=False).stderr
    called(*other, "--caption-column", "Beschreibung")
    assert len(scores(out)) == 62


def test_a_limited_scan_says_so_and_counts_references(
    tmp_path: Path,
) -> None:
    write_captions(tmp_path / "a.csv", rows=8, distinct=8)
    first = (tmp_path / "a.csv").read_text().splitlines()[1]
    (tmp_path / "held.csv").write_text(f"caption\nnever seen\n{first}\n")
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    out = str(tmp_path / "run")
    inputs = ("--captions", str(tmp_path / "a.csv"), str(tmp_path / "b.parquet"))
    scan = (*SCAN, *inputs, "--reference", str(tmp_path / "held.csv"), "--out", out)
    plan = called(*scan, "--limit", "5", "--dry-run")
    assert "files                3 (1 rejected, see above)" in plan.stdout
    assert "1 of 3 files are rejected; see the rejects for the reasons" in plan.stderr
    done = called(*scan, "--limit", "5", check=False)
    assert "6 captions scored" in done.stdout
    assert "(--limit 5: the data may have more)" in done.stdout
    assert "samples    10, 2 of them reference captions" in done.stdout
    shown = called("status", out).stdout
    assert "6 of 6 scored (--limit 5: the data may have more)" in shown
    assert "samples    10, 2 of them reference captions" in shown
    assert "running on" not in shown
    quality = {row["measure"]: row["count"] for row in _quality(out)}
    assert quality["samples whose caption was not planned (--limit)"] == 3
    assert quality["reference captions that are in the training set too"] == 1
    extend = called(*scan, "--extend", check=False)
    assert "a run of --limit cannot be extended" in extend.stderr


def _quality(run: str) -> list[dict]:
    return json.loads(called("sql", run, "--name", "run_quality", "--json").stdout)
