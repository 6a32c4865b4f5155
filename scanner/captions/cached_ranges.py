"""Cache of file ranges, so that two readers share one read."""

import io
import os
from collections.abc import Iterable
from typing import IO


class CachedRanges(io.RawIOBase):
    """Serve prefetched ranges from memory and everything else from the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._position = 0
        self._cached: dict[int, bytes] = {}

    def prefetch(self, start: int, size: int) -> None:
        self._file.seek(start)
        self._cached[start] = self._file.read(size)

    def evict(self, starts: Iterable[int]) -> None:
        """Drop the ranges that begin at these offsets."""
        for start in starts:
            self._cached.pop(start, None)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            self._position = self._file.seek(offset, whence)
        else:
            self._position = offset + (self._position if whence == os.SEEK_CUR else 0)
        return self._position

    def read(self, size: int = -1) -> bytes:
        data = self._from_memory(size)
        if data is None:
            self._file.seek(self._position)
            data = self._file.read(size)
        self._position += len(data)
        return data

    def _from_memory(self, size: int) -> bytes | None:
        for start, data in self._cached.items():
            at = self._position - start
            if size >= 0 and at >= 0 and at + size <= len(data):
                return data if size == len(data) else data[at : at + size]
        return None
