"""The folder for the temporary files of a local Ray: writable, with space, and a short path."""

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from scanner.errors import UserError

# The longest path of a Unix socket, and what Ray appends to its folder.
SOCKET_BYTES = 103
SESSION = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
FREE_BYTES = 32 << 20
TRIAL_BYTES = 1 << 20


def folder_variable() -> tuple[str, str]:
    """Return the variable that names the folder, "" if none is set, and the folder."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if os.environ.get(name):
            return name, os.environ[name].rstrip("/") or "/"
    return "", "/tmp"


def choose_folder(
    short_folders: tuple[str, ...] = SHORT_FOLDERS, free_bytes: int = FREE_BYTES
) -> str | None:
    """Return the folder for Ray's files; None for the one that Ray chooses itself.

    A path that is too long for Ray's sockets is replaced by a short one. Raises UserError for a
    folder that cannot be written or has less than ``free_bytes``.
    """
    name, folder = folder_variable()
    described = f"{name}={folder}" if name else f"{folder} (TMPDIR is not set)"
    _check_space(folder, described, free_bytes)
    length = len(os.fsencode(folder))
    if length + len(SESSION) <= SOCKET_BYTES:
        return None
    for short in short_folders:
        with contextlib.suppress(UserError):
            _check_space(short, short, free_bytes)
            return short
    raise UserError(
        f"{described}: the path is too long for Ray's sockets ({length} bytes, at most "
        f"{SOCKET_BYTES - len(SESSION)}), and {', '.join(short_folders)} cannot be written "
        f"instead; set {name} to a shorter path"
    )


def _check_space(folder: str, described: str, free_bytes: int) -> None:
    name = folder_variable()[0] or "TMPDIR"
    remedy = f"set {name} to a writable folder with free space"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(TRIAL_BYTES))
            file.flush()
            state = os.fstatvfs(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{described}: no space is left there, and Ray needs some; {remedy}"
            ) from error
        raise UserError(f"{described}: cannot be written ({error.strerror}); {remedy}") from error
    free = state.f_bavail * state.f_frsize
    if free < free_bytes:
        raise UserError(
            f"{described}: has {free >> 20} MiB free, and Ray needs {free_bytes >> 20} MiB for its "
            f"files; {remedy}"
        )
