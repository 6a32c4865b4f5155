"""Filesystem of registered files, for readers that would interpret special characters in paths."""

import datetime
import os
import threading
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import quote

from fsspec.spec import AbstractFileSystem

from scanner.storage.store import Store

# DuckDB prefetches and caches files whose prefix it considers remote.
LOCAL, REMOTE = "run", "s3"
UNCHANGED = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


class LiteralFiles(AbstractFileSystem):
    """Serve only registered files, under names without special characters.

    A name is the file's percent-encoded location: it contains no pattern, no ``key=value`` and only
    ASCII, and matches only itself. Files must not change while they are served, since sizes are
    read once. Open files can be shared between threads.
    """

    protocol = (LOCAL, REMOTE)
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, tuple[Store, str]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, store: Store, name: str) -> str:
        """Register a store's file and return its URL in this filesystem."""
        prefix = REMOTE if store.is_remote else LOCAL
        url = f"{prefix}://{quote(os.fsencode(store.location(name)))}"
        self._files[url] = store, name
        return url

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: paths are never patterns."""
        return [path]

    def open(self, path: str, mode: str = "rb", **_: Any) -> "SharedFile":
        if path not in self._files:
            raise FileNotFoundError(path)
        store, name = self._files[path]
        file = SharedFile(lambda: store.open(name, mode))
        if path not in self._sizes:  # first access; later ones cost no request
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
    """File that several threads read concurrently, each with its own position.

    DuckDB seeks and reads in two calls from many threads on one handle; with a shared position one
    thread would read where another has sought. ``open`` is called lazily, since a cache answers the
    reads of most handles.
    """

    def __init__(self, open: Callable[[], IO[bytes]]) -> None:
        self._open = open
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.local()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            with self._lock:
                offset = self._opened().seek(offset, whence)
        elif whence == os.SEEK_CUR:
            offset += self.tell()
        self._thread.position = offset
        return offset

    def tell(self) -> int:
        return getattr(self._thread, "position", 0)

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            file = self._opened()
            file.seek(self.tell())
            data = file.read(size)
        self._thread.position = self.tell() + len(data)
        return data

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _opened(self) -> IO[bytes]:
        self._file = self._file or self._open()
        return self._file
