"""The batch script for Slurm with real Rays and scans on two nodes, which are network namespaces of
this machine; Slurm itself is a stand-in: pytest -n 0 -m faults tests/infra."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.namespaces import two_nodes
from tests.infra.slurm import SlurmJob
from tests.waiting import wait_until
from tests.whole_scans import assert_nothing_lost, scores, status

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.faults
# Ray on two nodes and a scan, on cores that others use too.
LIMIT = 600
MEMSCAN = f'exec {sys.executable} -m jobs.cli "$@"\n'


@pytest.fixture
def job(tmp_path: Path) -> Iterator[SlurmJob]:
    with two_nodes() as nodes:
        programs = {"memscan": MEMSCAN}
        started = SlurmJob(tmp_path, *nodes.values(), programs=programs, PYTHONPATH=str(ROOT))
        yield started
        started.clean()


def test_a_scan_outlives_its_time_limit(
    job: SlurmJob, data: Path, undisturbed: str, tmp_path: Path
) -> None:
    run = str(tmp_path / "run")
    options = ["--captions", str(data), "--out", run, "--model", "testbed", "--device", "cpu"]
    options += ["--cpus-per-actor", "1", "--slice-captions", "8"]
    batch = job.start(*options)
    commits = tmp_path / "run/commits"
    wait_until(
        lambda: batch.poll() is not None or len(list(commits.glob("*"))) >= 3,
        "the scan commits nothing",
    )
    batch.terminate()
    assert batch.wait(LIMIT) == 0, job.log()
    assert job.requeues == [f"requeue {job.id}"], job.log()
    before = status(run)
    assert not before["sealed"], job.log()
    assert 3 <= before["slices"]["committed"] < before["slices"]["planned"]
    assert "2 actors" in job.log(), "one on each node"

    assert job.start(*options, restarts=1).wait(LIMIT) == 0, job.log()
    assert len(job.requeues) == 1
    assert "resuming: " in job.log()
    assert_nothing_lost(run, scores(undisturbed))
    assert not job.node_folder.exists()
    assert list(job.jobs.iterdir()) == []
