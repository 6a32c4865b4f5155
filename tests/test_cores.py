"""How many cores a process may use, by the files of cgroups of both versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scanner.cores import usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def _usable(cgroups: Path) -> int:
    return usable_cores(cgroups, cgroups / "membership")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    assert _usable(tmp_path) == 8
    _write(tmp_path / "membership", "0::/\n")
    _write(tmp_path / "cpu.max", "max 100000\n")
    assert _usable(tmp_path) == 8


@pytest.mark.parametrize(("quota", "usable"), [(50_000, 1), (250_000, 2), (2_000_000, 8)])
def test_the_smallest_quota_of_version_2_counts(tmp_path: Path, quota: int, usable: int) -> None:
    _write(tmp_path / "membership", "0::/job/step\n")
    _write(tmp_path / "job" / "cpu.max", f"{quota} 100000\n")
    _write(tmp_path / "job" / "step" / "cpu.max", "max 100000\n")
    assert _usable(tmp_path) == usable


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_counts_also_under_the_host_s_path(
    tmp_path: Path, controllers: str
) -> None:
    _write(tmp_path / "membership", f"4:{controllers}:/docker/0123\n3:memory:/docker/0123\n")
    _write(tmp_path / controllers / "cpu.cfs_quota_us", "300000\n")
    _write(tmp_path / controllers / "cpu.cfs_period_us", "100000\n")
    assert _usable(tmp_path) == 3
    _write(tmp_path / controllers / "cpu.cfs_quota_us", "-1\n")
    assert _usable(tmp_path) == 8


THREADS = """
import os, torch
from scanner import cores
torch.set_num_threads(4)
os.sched_getaffinity = lambda pid: {0, 1}
from scanner import load_model
load_model("testbed")
print(os.environ["OMP_WAIT_POLICY"], torch.get_num_threads(), torch.get_num_interop_threads())
"""


def test_a_loaded_model_uses_the_cores_and_idle_threads_sleep() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["PASSIVE", "2", "1"]
