"""A disk that is full, or becomes read-only, under a whole scan on a small file system."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.memscan import memscan
from tests.whole_scans import assert_nothing_lost, scores

pytestmark = pytest.mark.faults


def _mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True, capture_output=True, text=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', error)}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_scan_that_fills_the_disk_resumes_with_more_space(
    undisturbed: str, data: Path, disk: Path
) -> None:
    out = disk / "run"
    command = (
        *("scan", "--model", "testbed", "--captions", str(data)),
        *("--out", str(out), "--slice-captions", "20"),
    )
    _mount("-o", "remount,size=400k", str(disk))
    full = memscan(*command, check=False)
    assert full.returncode == 1, full.stderr
    assert "No space left" in full.stderr
    assert str(out) in full.stderr
    assert "Traceback" not in full.stderr
    _mount("-o", "remount,size=64m", str(disk))
    memscan(*command)
    assert_nothing_lost(str(out), scores(undisturbed))


def test_a_scan_on_a_read_only_disk_resumes_once_writable(
    undisturbed: str, data: Path, disk: Path
) -> None:
    out = disk / "run"
    command = ("scan", "--model", "testbed", "--captions", str(data), "--out", str(out))
    _mount("-o", "remount,ro", str(disk))
    refused = memscan(*command, check=False)
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr
    assert str(out) in refused.stderr
    assert "Traceback" not in refused.stderr
    _mount("-o", "remount,rw", str(disk))
    memscan(*command)
    assert_nothing_lost(str(out), scores(undisturbed))
