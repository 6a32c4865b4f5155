"""A store that counts its operations, each of which is one request on S3, and their bytes."""

import threading
from pathlib import Path
from typing import IO, Any

from scanner.storage import Store, Stored


class CountingStore(Store):
    """``requests``: number of operations; ``bytes_read``, ``bytes_written``: of files.

    A read of an open file is a request. Files of the training set are opened by URL, not here.
    """

    requests = bytes_read = bytes_written = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._lock = threading.Lock()

    def count(self, read: int = 0, written: int = 0) -> None:
        with self._lock:
            self.requests += 1
            self.bytes_read += read
            self.bytes_written += written

    def exists(self, name: str) -> bool:
        self.count()
        return super().exists(name)

    def files(self, folder: str) -> dict[str, Stored]:
        self.count()
        return super().files(folder)

    def read(self, name: str, most: int | None = None) -> bytes:
        data = super().read(name, most)
        self.count(read=len(data))
        return data

    def read_range(self, name: str, start: int, end: int) -> bytes:
        data = super().read_range(name, start, end)
        self.count(read=len(data))
        return data

    def open(self, name: str, mode: str = "rb", **options: Any) -> IO[Any]:
        self.count()
        file: Any = _CountedFile(super().open(name, mode, **options), self)
        return file

    def write(self, name: str, data: bytes) -> str:
        self.count(written=len(data))
        return super().write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        self.count(written=len(data))
        return super().create(name, data)

    def upload(self, local: Path, name: str) -> None:
        self.count(written=local.stat().st_size)
        super().upload(local, name)

    def remove(self, name: str, missing_ok: bool = False) -> None:
        self.count()
        super().remove(name, missing_ok)


class _CountedFile:
    def __init__(self, file: IO[Any], store: CountingStore) -> None:
        self._file, self._store = file, store

    def read(self, *size: int) -> Any:
        data = self._file.read(*size)
        self._store.count(read=len(data))
        return data

    def __enter__(self) -> "_CountedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
