"""Files on a local or mounted file system: whole or absent, whenever the process dies.

A file is written and synced under a temporary name. To replace one, it is renamed. To create one
only if it is absent, the first way of these is taken that the file system knows:

1. a hard link to the final name, which fails if that exists (ext4, xfs, NFS, …);
2. a rename that replaces nothing, ``RENAME_NOREPLACE`` (vfat, exFAT, SMB, some of FUSE);
3. a rename under a lock (``flock``) on the folder's file ``.lock``, which the system releases when
   the process dies. Where several machines mount such a file system, whether one sees the others'
   locks is up to it: run one driver, with its actors on its machine, or pass ``--single-writer``;
4. with ``single_writer`` alone, a rename if nothing is there: nobody else writes.
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
# How file systems and kernels say that they lack an operation.
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
    """Write a file only if there is none; False if there is one. Raises OSError."""
    with temporary_file(path, lambda file: file.write(data)) as temporary:
        for name_it in (_link, _rename_without_replacing, _rename_under_lock):
            try:
                name_it(temporary, Path(path))
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
                "this file system knows neither hard links, nor renames that replace nothing, nor "
                "locks, and two scans could harm one another; pass --single-writer and be sure "
                "that only one scan writes here, or name another place",
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
    """A filled and synced file beside ``path``, to be renamed or linked; gone afterwards.

    Raises OSError that names ``path``, where the disk is full or may not be written, say.
    """
    folder, name = Path(path).parent, Path(path).name
    temporary = folder / f".{name}.{uuid.uuid4().hex}"  # as TEMPORARY knows it
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            # A failed write names no file.
            raise OSError(error.errno, error.strerror or str(error), path) from error
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # renamed, or never made
            temporary.unlink()
