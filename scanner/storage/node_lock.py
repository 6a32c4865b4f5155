"""A lock between the processes of a node."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

log = logging.getLogger("memscan.storage")


@contextmanager
def node_lock(folder: Path, key: str) -> Iterator[None]:
    """Hold the lock for ``key`` whose file is in a local folder; waits for other processes.

    The lock of a process that dies is released. Without write access to the folder, or on a file
    system without locks, runs unlocked: processes then do the same work side by side.
    """
    lock = FileLock(folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        log.debug("no lock in %s: %s", folder, error)
    try:
        yield
    finally:
        lock.release()
