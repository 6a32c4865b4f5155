"""Remember the hash of a model's weights on a node, so that its processes read them once."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scanner.storage.node_lock import node_lock

MARKER_BYTES = 64 << 20
"""Smaller weights are hashed in a fraction of a second, without a marker."""
FORMAT = 1
"""To be raised when the hash of the same files changes."""
# A file that is this new could change again within the resolution of its times.
SETTLED_SECONDS = 0.1
_HASH = re.compile(r"[0-9a-f]{64}")
# Path, size, times of modification and of change (ns), inode. The time of change differs even after
# a file is overwritten with its size and time of modification kept.
State = list[tuple[str, int, int, int, int]]


def remembered_hash(
    settings: str, files: Sequence[Path], compute: Callable[[], str], marker_bytes: int
) -> str:
    """Return a hash of files: from the marker that an earlier process left, else ``compute()``.

    ``settings``: a digest of everything else that the hash depends on. Markers are in the user's
    cache and named after it and the path, size, times and inode of every file, so the marker of a
    changed file is not found. Processes that call this together hash once. Files under
    ``marker_bytes`` in total have no marker. Raises OSError if a file is missing.
    """
    state = _state(files)
    if sum(size for _, size, *_ in state) < marker_bytes:
        return compute()
    try:
        folder = Path.home() / ".cache" / "memscan" / "hashes"
    except RuntimeError:  # a user without a home directory
        return compute()
    key = hashlib.sha256(repr((FORMAT, settings, state)).encode()).hexdigest()
    marker = folder / f"{key}.json"
    with node_lock(folder / "locks", key):
        if known := _read(marker):
            return known
        newest = max(max(modified, changed) for _, _, modified, changed, _ in state)
        if time.time_ns() - newest < SETTLED_SECONDS * 1e9:
            time.sleep(SETTLED_SECONDS)
        found = compute()
        if _state(files) == state:
            _write(marker, {"weights": found, "files": [[name, size] for name, size, *_ in state]})
        return found


def _state(files: Sequence[Path]) -> State:
    found = [(os.path.realpath(path), path.stat()) for path in files]
    return [
        (name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        for name, stat in found
    ]


def _read(marker: Path) -> str | None:
    """Return the hash in a marker, or None if it is missing or damaged."""
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and _HASH.fullmatch(found) else None


def _write(marker: Path, record: dict[str, object]) -> None:
    """Write a marker atomically; do nothing without write access."""
    with contextlib.suppress(OSError):
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=marker.parent, suffix=".tmp", delete=False
        ) as file:
            json.dump(record, file)
        Path(file.name).replace(marker)
