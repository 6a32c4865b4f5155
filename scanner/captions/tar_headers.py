"""Tars whose headers are read in bounded memory, whatever sizes they state."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from scanner.captions.limits import TAR_HEADER_BYTES


class _OverLimit(Exception):
    """Headers of one file exceed the limit; ``end``: where the one ends that does."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class _Bounded:
    """A tar's file that gives no more bytes than ``left``; None: as many as are wanted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.left: int | None = None
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise _OverLimit(self.tell() + size)
        return self._file.read(size)


@contextmanager
def open_tar(file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """Open a tar that is not packed, for :func:`next_member`."""
    # tarfile reads the first headers as it opens a file: it opens an empty one.
    empty = io.BytesIO(bytes(2 * tarfile.BLOCKSIZE))
    with tarfile.open(fileobj=empty, mode="r:") as tar:
        file.seek(0)
        bounded: Any = _Bounded(file)
        tar.fileobj, tar.offset = bounded, 0
        yield tar


def next_member(tar: tarfile.TarFile) -> tuple[tarfile.TarInfo | None, bool]:
    """Return the next file, and whether headers of it were left out since they exceed the limit.

    tarfile holds a file's headers whole: of names, of sparse ranges, and those for all files.
    Raises tarfile.TarError.
    """
    bounded: Any = tar.fileobj
    is_over = False
    while True:
        bounded.left = TAR_HEADER_BYTES
        try:
            member = tar.next()
            break
        except _OverLimit as error:
            is_over = True
            tar.offset = error.end
        finally:
            bounded.left = None
    tar.members = []  # type: ignore[attr-defined]  # else it holds every one it has seen
    common = tar.pax_headers
    if sum(len(name) + len(value) for name, value in common.items()) > TAR_HEADER_BYTES:
        raise tarfile.ReadError(f"headers for all files of more than {TAR_HEADER_BYTES} bytes")
    return member, is_over
