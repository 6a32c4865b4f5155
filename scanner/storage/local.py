"""Atomic writes on a local or mounted file system: complete or absent, even if the process dies.

A file is written and synced under a temporary name, then renamed to replace an existing one. To
create a file only if absent, the first method that the file system supports is used:

1. a hard link to the final name, which fails if that exists (ext4, xfs, NFS, …);
2. a rename that never replaces, ``RENAME_NOREPLACE`` (vfat, exFAT, SMB, some FUSE file systems);
3. a rename under a lock (``flock``) on the folder's file ``.lock``, which the system releases when
   the process dies. On a file system mounted by several machines, locks may not be visible across
   machines: run one driver with its actors on the same machine, or pass ``--single-writer``;
4. with ``single_writer`` only, a rename if the name is free: no other process writes.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
LOCK = ".lock"
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
# Errors with which file systems and kernels reject an unsupported operation.
_UNSUPPORTED = {
    errno.EPERM,
    errno.EACCES,
    errno.EINVAL,
    errno.EMLINK,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EOPNOTSUPP,
    errno.EXDEV,
}


def create_file(path: str, data: bytes, single_writer: bool = False) -> bool:
    """Write a file only if absent; return False if it exists. Raises OSError."""
    with temporary_file(path, lambda file: file.write(data)) as temporary:
        for publish in (_link, _rename_without_replacing, _rename_under_lock):
            try:
                publish(temporary, Path(path))
                return True
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                refused = error
        if not single_writer:
            raise OSError(
                refused.errno,
                "this file system supports neither hard links, nor renames that never replace, "
                "nor locks, so two scans could corrupt each other's output; pass --single-writer "
                "and make sure that only one scan writes here, or choose another location",
                path,
            )
        if Path(path).exists():
            return False
        temporary.rename(path)
        return True


def _link(temporary: Path, path: Path) -> None:
    os.link(temporary, path)


def _rename_without_replacing(temporary: Path, path: Path) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, "no renameat2 in this system's library")
    names = os.fsencode(temporary), os.fsencode(path)
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def _rename_under_lock(temporary: Path, path: Path) -> None:
    with (path.parent / LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.rename(path)


@contextlib.contextmanager
def temporary_file(path: str, fill: Callable[[IO[bytes]], Any]) -> Iterator[Path]:
    """Yield a written and synced temporary file next to ``path``; delete it afterwards.

    Raises OSError with ``path`` as its file name, for example if the disk is full.
    """
    folder, name = Path(path).parent, Path(path).name
    temporary = folder / f".{name}.{uuid.uuid4().hex}"  # matches TEMPORARY
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            # The error of a failed write has no file name.
            raise OSError(error.errno, error.strerror or str(error), path) from error
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # renamed, or never created
            temporary.unlink()
