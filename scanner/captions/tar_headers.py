"""Read tar headers in bounded memory, whatever sizes they declare."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from scanner.captions.limits import TAR_HEADER_BYTES


class _OverLimit(Exception):
    """The headers of one file exceed the limit; ``end``: offset after the offending header."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class _Bounded:
    """File wrapper that allows reading ``left`` more bytes; None for no limit."""

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
    """Open an uncompressed tar for :func:`next_member`."""
    # tarfile reads the first headers when it opens a file, so open an empty one.
    empty = io.BytesIO(bytes(2 * tarfile.BLOCKSIZE))
    with tarfile.open(fileobj=empty, mode="r:") as tar:
        file.seek(0)
        bounded: Any = _Bounded(file)
        tar.fileobj, tar.offset = bounded, 0
        yield tar


def next_member(tar: tarfile.TarFile) -> tuple[tarfile.TarInfo | None, bool]:
    """Return the next member, and whether headers of it were skipped for exceeding the limit.

    tarfile holds a member's headers in memory: long names, sparse ranges, and global headers.
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
    tar.members = []  # type: ignore[attr-defined]  # otherwise it keeps every member
    common = tar.pax_headers
    if sum(len(name) + len(value) for name, value in common.items()) > TAR_HEADER_BYTES:
        raise tarfile.ReadError(f"global headers of more than {TAR_HEADER_BYTES} bytes")
    return member, is_over
