"""Tars whose headers are read in bounded memory, whatever sizes they state."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from scanner.captions.limits import TAR_HEADER_BYTES


class _Bounded:
    """A tar's file that gives no more bytes than ``left``; None: as many as are wanted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.left: int | None = TAR_HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise tarfile.ReadError(f"headers of more than {TAR_HEADER_BYTES} bytes")
        return self._file.read(size)


@contextmanager
def open_tar(file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """Open a tar that is not packed. Raises tarfile.TarError, also for headers over the limit.

    tarfile holds a file's headers whole: of names, of sparse ranges, and those for all files.
    """
    bounded: Any = _Bounded(file)
    with tarfile.open(fileobj=bounded, mode="r:") as tar:
        bounded.left = None
        yield tar


def next_member(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """Return the next file of a tar of :func:`open_tar`, without keeping those before."""
    bounded: Any = tar.fileobj
    bounded.left = TAR_HEADER_BYTES
    try:
        member = tar.next()
    finally:
        bounded.left = None
    tar.members = []  # type: ignore[attr-defined]  # else it holds every one it has seen
    common = tar.pax_headers
    if sum(len(name) + len(value) for name, value in common.items()) > TAR_HEADER_BYTES:
        raise tarfile.ReadError(f"headers for all files of more than {TAR_HEADER_BYTES} bytes")
    return member
