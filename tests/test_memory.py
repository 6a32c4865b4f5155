"""Which memory a process may use, by the files of cgroups, and which errors mean too little."""

import os
from pathlib import Path

import pytest
import torch

from scanner.cluster import BrokenDevice
from scanner.cluster.broken_devices import raise_broken_devices
from scanner.memory import (
    available_memory,
    is_out_of_memory,
    readable_bytes,
    usable_memory,
)

TOTAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
GIB = 1 << 30


def _usable(folder: Path, membership: str, limits: dict[str, str]) -> int:
    for name, limit in limits.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    (folder / "membership").write_text(membership)
    return usable_memory(folder, folder / "membership")


def test_without_a_limit_the_machine_s_memory_counts(tmp_path: Path) -> None:
    assert usable_memory(tmp_path, tmp_path / "no-such-file") == TOTAL
    assert _usable(tmp_path, "0::/\n", {"memory.max": "max"}) == TOTAL
    assert _usable(tmp_path, "damaged\n0::/\n", {"memory.max": str(1 << 60)}) == TOTAL


@pytest.mark.parametrize(
    ("own", "above"), [(str(GIB), "max"), (str(GIB), str(2 * GIB)), ("max", str(GIB))]
)
def test_the_smallest_limit_of_version_2_counts(tmp_path: Path, own: str, above: str) -> None:
    limits = {"job/step/memory.max": own, "job/memory.max": above}
    assert _usable(tmp_path, "0::/job/step\n", limits) == GIB


def test_a_limit_of_version_1_counts_also_under_the_host_s_path(tmp_path: Path) -> None:
    membership = "4:cpu,cpuacct:/docker/0123\n3:memory:/docker/0123\n"
    assert _usable(tmp_path, membership, {"memory/memory.limit_in_bytes": str(GIB)}) == GIB
    unlimited = {"memory/memory.limit_in_bytes": "9223372036854771712"}
    assert _usable(tmp_path, membership, unlimited) == TOTAL


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_every_form_of_out_of_memory_is_recognized(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_out_of_memory_is_not_a_broken_device(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, raise_broken_devices():
        raise error
    assert caught.value is error


BROKEN = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
]


@pytest.mark.parametrize("error", BROKEN, ids=str)
def test_other_errors_of_cuda_are_broken_devices(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(BrokenDevice), raise_broken_devices():
        raise error


def test_other_errors_are_not_out_of_memory() -> None:
    assert not is_out_of_memory(ValueError("out of memory"))


def test_available_memory_is_what_the_kernel_reports(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 99 kB\nMemFree: 1 kB\nMemAvailable: 2048 kB\n")
    assert available_memory(info) == 2 << 20
    assert 0 < available_memory() <= usable_memory()
    assert available_memory(tmp_path / "none") == usable_memory()


def test_bytes_are_shown_in_mib_and_gib() -> None:
    shown = [readable_bytes(count) for count in (1 << 19, 200 << 20, 3 << 29, 2000 << 30)]
    assert shown == ["0.5 MiB", "200.0 MiB", "1.5 GiB", "2,000.0 GiB"]
