"""How many cores this process may use: in a container fewer than the machine has."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores by affinity and by the quota of the cgroups that this process is in; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas())]))


def _quotas() -> list[float]:
    """Cores that each cgroup from this process's own up to the root allows, versions 1 and 2."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            continue
        top = CGROUPS / controllers
        own = top / path.lstrip("/")
        # Within a container the path may be that of the host, of which only the top is mounted.
        for folder in (own, *own.parents):
            if folder == top or top in folder.parents:
                found.append(_quota(folder, bool(controllers)))
    return [quota for quota in found if quota > 0]


def _quota(folder: Path, is_first_version: bool) -> float:
    """0 for a cgroup that limits nothing."""
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if is_first_version else ("cpu.max",)
    try:
        words = [w for name in names for w in (folder / name).read_text(encoding="utf-8").split()]
        return int(words[0]) / int(words[1])
    except (OSError, ValueError, IndexError, ZeroDivisionError):  # no such file, "max 100000", -1
        return 0.0
