"""Memory available to this process, and errors that mean that there is not enough."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
MEMBERSHIP = Path("/proc/self/cgroup")
# Lower-case parts of messages: of torch for CPU and CUDA (also as "CUDA error", which says nothing
# about the device's health), of the CUDA runtime, Triton, cuBLAS and cuDNN. A cuBLAS handle that
# cannot be created is not initialized because its workspace cannot be allocated.
MARKS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
    "allocation_failed",
    "cudaerrormemoryallocation",
    "cublas_status_not_initialized when calling `cublascreate",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device or the host is out of memory.

    cuBLAS and cuDNN raise their own errors; torch on a CPU raises a plain RuntimeError.
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error).lower() for mark in MARKS)


def available_memory(meminfo: Path = MEMINFO) -> int:
    """Return the bytes of memory that processes can still allocate without swapping, at most
    :func:`usable_memory`."""
    total = usable_memory()
    try:
        lines = meminfo.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return total
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    free = values.get("MemAvailable", "").split()
    return min(total, int(free[0]) << 10) if free else total


def readable_bytes(count: float) -> str:
    """Return a number of bytes for people, such as 1.5 GiB."""
    if count >= 1 << 30:
        return f"{count / (1 << 30):,.1f} GiB"
    return f"{count / (1 << 20):,.1f} MiB"


def usable_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the bytes of memory that the machine has or, if less, that cgroups allow.

    ``cgroups``: where cgroups are mounted; ``membership``: the file with this process's own.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_limits(cgroups, membership)])


def _limits(cgroups: Path, membership: Path) -> Iterator[int]:
    """Yield the limits of the cgroups from this process up to the root (versions 1 and 2)."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if controllers not in ("", "memory"):
            continue
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        top = cgroups / controllers
        own = top / path.lstrip("/")
        # In a container the path may be the host's, of which only the top is mounted.
        for folder in (own, *own.parents):
            if folder == top or top in folder.parents:
                try:
                    yield int((folder / name).read_text(encoding="utf-8"))
                except (OSError, ValueError):  # no such file, "max"
                    continue
