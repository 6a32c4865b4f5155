"""A run's directory, and the create-if-absent primitive that its commit protocol relies on.

:meth:`Store.create` writes a file only if it is absent: in a store as described in
:mod:`scanner.storage.conditional_create`, on a local disk as in :mod:`scanner.storage.local`.
:meth:`Store.preflight` proves it; a store that cannot do it requires ``single_writer``.
"""

import contextlib
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from scanner.errors import UserError
from scanner.storage.conditional_create import create_if_absent, may_be_conditional
from scanner.storage.error_messages import attaches_store_url
from scanner.storage.local import TEMPORARY, create_file, temporary_file
from scanner.storage.names import resolve
from scanner.storage.stored import Stored, checksum_of
from scanner.storage.urls import is_local, is_s3, missing_bucket, split_url, url_of

RACERS = 16
REMOVERS = 16
UNFINISHED_SECONDS = 3600.0


@dataclass
class Store:
    """Directory owned by one run, at a local path or URL; names in it are relative.

    Every method raises :class:`~scanner.storage.names.UnsafeName` for a name that leads out of the
    directory.

    On S3, Google Cloud Storage and Azure every operation, including reads of open files, waits for
    outages to end (:class:`~scanner.storage.outage_wait.OutageWait`); an error that remains is
    raised, and :func:`~scanner.storage.is_transient` recognizes it.

    Multipart uploads: s3fs uses them from 100 MiB and aborts a failed one. One is left behind if
    the process is killed, if the abort fails in an outage, or if the response that named the new
    upload was lost: give the bucket a lifecycle rule that aborts incomplete uploads after some
    days.
    """

    url: str
    single_writer: bool = False
    _fs: Any = field(init=False, repr=False)
    _root: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._fs, self._root = split_url(self.url)
        if not (is_local(self._fs) or self.single_writer or may_be_conditional(self._fs)):
            raise UserError(
                f"{self.url}: this store cannot create a file only if it is absent, which two "
                "drivers need to work safely side by side; use a local directory, s3://, gs:// or "
                "az://, or pass --single-writer and make sure that only one scan writes here"
            )

    @property
    def is_remote(self) -> bool:
        return not is_local(self._fs)

    def location(self, name: str) -> str:
        """Return the full path or URL of a name."""
        return url_of(self._fs, self._path(name))

    def _path(self, name: str) -> str:
        return resolve(self._fs, self._root, name) if name else self._root

    @attaches_store_url
    def exists(self, name: str) -> bool:
        return self._fs.exists(self._path(name))

    def why_missing(self) -> str:
        """Return why this location cannot contain anything (no such bucket), else ""."""
        return missing_bucket(self._fs, self._root)

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of a folder's files ("" for the top); [] without a folder."""
        return list(self.files(folder))

    @attaches_store_url
    def files(self, folder: str) -> dict[str, Stored]:
        """Return the files in a folder by name, sorted, from one listing.

        Returns {} without a folder. Omits unfinished files, also those of killed writers. S3 lists
        large folders in parallel (:mod:`scanner.storage.parallel_listing`).
        """
        top = self._path(folder)
        try:
            files = self._fs.list_folder(top) if is_s3(self._fs) else self._list_folder(top)
        except FileNotFoundError:
            return {}
        return {
            f"{folder}/{name}" if folder else name: file
            for name, file in sorted(files.items(), key=itemgetter(0))
            if not name.startswith(".")
        }

    @attaches_store_url
    def folders(self, folder: str) -> list[str]:
        """Return the sorted names of the folders in a folder; [] without any."""
        top = self._path(folder)
        try:
            entries = self._fs.ls(top, detail=True)
        except FileNotFoundError:
            return []
        names = (entry["name"] for entry in entries if entry["type"] == "directory")
        found = (name.rstrip("/").rsplit("/", 1)[1] for name in names)
        return [f"{folder}/{name}" for name in sorted(found) if not name.startswith(".")]

    def _list_folder(self, top: str) -> dict[str, Stored]:
        """Return the files in a folder by their names in it. Raises FileNotFoundError."""
        return {
            entry["name"].rsplit("/", 1)[1]: Stored(entry["size"] or 0, checksum_of(entry))
            for entry in self._fs.ls(top, detail=True)
            if entry["type"] == "file" and entry["name"].rstrip("/") != top
        }

    @attaches_store_url
    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes; if it is longer than ``most``, only the first ``most`` + 1."""
        path = self._path(name)
        if most is None:
            return self._fs.cat_file(path)
        if is_local(self._fs):
            with Path(path).open("rb") as file:
                return file.read(most + 1)
        return self._fs.cat_file(path, start=0, end=most + 1)

    @attaches_store_url
    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Return a file's bytes from ``start`` to ``end``, exclusive, with one request.

        Returns fewer if the file is shorter.
        """
        return self._fs.cat_file(self._path(name), start=start, end=end)

    @attaches_store_url
    def open(self, name: str, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open a file for reading. Use write, create or upload to write atomically."""
        if "r" not in mode or "+" in mode:
            raise ValueError(f"store files open read-only, got mode {mode!r}")
        return self._fs.open(self._path(name), mode, **options)

    @attaches_store_url
    def write(self, name: str, data: bytes) -> str:
        """Write or replace a file atomically: readers see the old or the new version.

        Returns the store's checksum as listings show it (:class:`Stored`), "" if unknown.
        """
        path = self._path(name)
        if is_local(self._fs):
            with temporary_file(path, lambda file: file.write(data)) as temporary:
                temporary.replace(path)
            return ""
        response = self._fs.pipe_file(path, data)
        return checksum_of(response) if isinstance(response, dict) else ""

    @attaches_store_url
    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if it is absent.

        Returns whether this call created it. A file with the same content counts as created by this
        call: it can be its own write, retried because the response was lost.
        """
        path = self._path(name)
        if is_local(self._fs):
            made = create_file(path, data, self.single_writer)
        else:
            made = create_if_absent(self._fs, path, data, self.single_writer)
        return made or self._fs.cat_file(path) == data

    @attaches_store_url
    def remove(self, name: str, missing_ok: bool = False) -> None:
        """Remove a file; unless ``missing_ok``, a store may raise FileNotFoundError."""
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            if not missing_ok:
                raise

    @attaches_store_url
    def remove_folder(self, folder: str) -> None:
        """Remove every file below a folder, if any. Raises OSError."""
        if not folder:
            raise ValueError("remove_folder needs a folder inside the store")
        path = self._path(folder)
        if is_local(self._fs):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)
            return
        # One by one: not every S3 supports deleting many at once, and s3fs hides its refusals.
        with ThreadPoolExecutor(REMOVERS) as threads:
            list(threads.map(self._fs.rm_file, self._fs.find(path)))

    @attaches_store_url
    def upload(self, local: Path, name: str) -> None:
        """Copy a local file into the store atomically."""
        path = self._path(name)
        if is_local(self._fs):
            with (
                local.open("rb") as source,
                temporary_file(path, lambda file: shutil.copyfileobj(source, file)) as temporary,
            ):
                temporary.replace(path)
        else:
            self._fs.put_file(str(local), path)

    def remove_unfinished(self, older_than: float = UNFINISHED_SECONDS) -> None:
        """Remove files that killed writers left on a local disk (for S3 see the class docstring).

        Keeps files modified in the last ``older_than`` seconds: their writers may be running.
        """
        since = time.time() - older_than
        for path in Path(self._root).rglob(".*") if is_local(self._fs) else ():
            if TEMPORARY.fullmatch(path.name) and path.is_file():
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    if path.stat().st_mtime < since:
                        path.unlink()

    def preflight(self) -> int:
        """Race writers for one file and return their number: exactly one must win.

        Raises UserError if the store is not writable or lets several win. With ``single_writer``
        only tests writing. A new local directory stays.
        """
        name = f"preflight/{uuid.uuid4().hex}"
        racers = 1 if self.single_writer else RACERS
        barrier = threading.Barrier(racers)

        def race(number: int) -> bool:
            barrier.wait()
            return self.create(name, f"writer {number}".encode())

        try:
            with ThreadPoolExecutor(racers) as threads:
                wins = sum(threads.map(race, range(racers)))
            self.remove(name)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.url}: cannot write here: {error}") from error
        if wins != 1:
            raise UserError(
                f"{self.url}: {wins} of {racers} writers believed that they had created the same "
                "file: this store ignores conditional writes, so two scans could corrupt each "
                "other's output; use another store, or pass --single-writer for one scan at a time"
            )
        return racers
