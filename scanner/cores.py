"""Number of CPU cores available to this process: in a container, fewer than the machine has."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the cores allowed by affinity and cgroup quotas; at least 1.

    ``cgroups``: where the kernel mounts them; ``membership``: the file that lists this process's.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas(cgroups, membership))]))


def _quotas(cgroups: Path, membership: Path) -> list[float]:
    """Return the cores that each cgroup from this process up to the root allows (v1 and v2)."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            continue
        top = cgroups / controllers
        own = top / path.lstrip("/")
        # In a container the path may be the host's, of which only the top is mounted.
        for folder in (own, *own.parents):
            if folder == top or top in folder.parents:
                found.append(_quota(folder, bool(controllers)))
    return [quota for quota in found if quota > 0]


def _quota(folder: Path, is_first_version: bool) -> float:
    """Return a cgroup's quota in cores; 0 if it sets none."""
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if is_first_version else ("cpu.max",)
    try:
        words = [w for name in names for w in (folder / name).read_text(encoding="utf-8").split()]
        return int(words[0]) / int(words[1])
    except (OSError, ValueError, IndexError, ZeroDivisionError):  # no such file, "max 100000", -1
        return 0.0
