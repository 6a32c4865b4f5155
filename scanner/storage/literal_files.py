"""A filesystem of given files, for readers that would interpret the files' own paths."""

import datetime
import os
import threading
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import quote

from fsspec.spec import AbstractFileSystem

from scanner.storage.store import Store

# DuckDB prefetches and caches what it takes to be remote by such a prefix, wherever it is.
LOCAL, REMOTE = "run", "s3"
UNCHANGED = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


class LiteralFiles(AbstractFileSystem):
    """Serve the files that were added, and no others, under names without special characters.

    A name is the file's location, percent-encoded: nothing in it is a pattern, ``key=value`` or
    outside ASCII, and it matches itself only. The files must not change while they are served:
    a file's size is measured once. Threads may share what was opened.
    """

    protocol = (LOCAL, REMOTE)
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, tuple[Store, str]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, store: Store, name: str) -> str:
        """Serve a store's file and return its URL here."""
        prefix = REMOTE if store.is_remote else LOCAL
        url = f"{prefix}://{quote(os.fsencode(store.location(name)))}"
        self._files[url] = store, name
        return url

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: no path is a pattern."""
        return [path]

    def open(self, path: str, mode: str = "rb", **_: Any) -> "SharedFile":
        if path not in self._files:
            raise FileNotFoundError(path)
        store, name = self._files[path]
        file = SharedFile(lambda: store.open(name, mode))
        if path not in self._sizes:  # the first time; later ones cost no request
            self._sizes[path] = file.seek(0, os.SEEK_END)
            file.seek(0)
        return file

    def size(self, path: str) -> int:
        if path not in self._sizes:
            self.open(path).close()
        return self._sizes[path]

    def modified(self, path: str) -> datetime.datetime:
        return UNCHANGED


class SharedFile:
    """A file that several threads read at once, each at a position of its own.

    DuckDB seeks and reads in two calls, from many threads on one handle; at a common position one
    thread would read where another has sought. ``open`` is called when it is first needed, since
    most handles serve reads that a cache answers.
    """

    def __init__(self, open: Callable[[], IO[bytes]]) -> None:
        self._open = open
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._own = threading.local()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            with self._lock:
                offset = self._opened().seek(offset, whence)
        elif whence == os.SEEK_CUR:
            offset += self.tell()
        self._own.position = offset
        return offset

    def tell(self) -> int:
        return getattr(self._own, "position", 0)

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            file = self._opened()
            file.seek(self.tell())
            data = file.read(size)
        self._own.position = self.tell() + len(data)
        return data

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _opened(self) -> IO[bytes]:
        self._file = self._file or self._open()
        return self._file
