"""A filesystem of given files, for readers that would interpret the files' own paths."""

import datetime
import os
from typing import IO, Any
from urllib.parse import quote

from fsspec.spec import AbstractFileSystem

from scanner.storage.store import Store

UNCHANGED = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


class LiteralFiles(AbstractFileSystem):
    """Serve the files that were added, and no others, under names without special characters.

    A name is the file's location, percent-encoded: nothing in it is a pattern, ``key=value`` or
    outside ASCII, and it matches itself only. The files must not change while they are served:
    a file's size is measured once.
    """

    protocol = "run"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, tuple[Store, str]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, store: Store, name: str) -> str:
        """Serve a store's file and return its URL here."""
        url = f"run://{quote(os.fsencode(store.location(name)))}"
        self._files[url] = store, name
        return url

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: no path is a pattern."""
        return [path]

    def open(self, path: str, mode: str = "rb", **_: Any) -> IO[bytes]:
        if path not in self._files:
            raise FileNotFoundError(path)
        store, name = self._files[path]
        file = store.open(name, mode)
        if path not in self._sizes:
            self._sizes[path] = file.seek(0, os.SEEK_END)
            file.seek(0)
        return file

    def size(self, path: str) -> int:
        if path not in self._sizes:
            self.open(path).close()
        return self._sizes[path]

    def modified(self, path: str) -> datetime.datetime:
        return UNCHANGED
