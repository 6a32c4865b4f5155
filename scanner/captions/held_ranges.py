"""A file whose ranges are read once, though two readers want them."""

import io
import os
from collections.abc import Iterable
from typing import IO


class HeldRanges(io.RawIOBase):
    """Serve ranges that were read ahead from memory, anything else from the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._place = 0
        self._held: dict[int, bytes] = {}

    def hold(self, start: int, size: int) -> None:
        self._file.seek(start)
        self._held[start] = self._file.read(size)

    def release(self, starts: Iterable[int]) -> None:
        """Forget the ranges that begin there."""
        for start in starts:
            self._held.pop(start, None)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            self._place = self._file.seek(offset, whence)
        else:
            self._place = offset + (self._place if whence == os.SEEK_CUR else 0)
        return self._place

    def read(self, size: int = -1) -> bytes:
        data = self._from_memory(size)
        if data is None:
            self._file.seek(self._place)
            data = self._file.read(size)
        self._place += len(data)
        return data

    def _from_memory(self, size: int) -> bytes | None:
        for start, held in self._held.items():
            at = self._place - start
            if size >= 0 and at >= 0 and at + size <= len(held):
                return held if size == len(held) else held[at : at + size]
        return None
