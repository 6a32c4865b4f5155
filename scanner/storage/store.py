"""The directory of a run, and the primitive that its commit protocol rests on.

:meth:`Store.create` writes a file only if no one has. S3 does it with ``If-None-Match: *``; a local
disk as :mod:`scanner.storage.local` says. Any other store has to be allowed with ``single_writer``.
"""

import contextlib
import errno
import random
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from scanner.errors import UserError
from scanner.storage.complaints import marks_storage
from scanner.storage.local import TEMPORARY, create_file, temporary_file
from scanner.storage.names import resolve
from scanner.storage.urls import is_local, is_s3, missing_bucket, split_url, url_of

RACERS = 16
REMOVERS = 16
CONFLICT_RETRIES = 8
UNFINISHED_SECONDS = 3600.0


@dataclass
class Store:
    """A directory that one run owns, at a local path or URL; names in it are relative.

    Every method raises :class:`~scanner.storage.names.UnsafeName` for a name that leads out of the
    directory, whoever chose it.

    On S3 every operation, and reading what it opened, waits an outage out (see
    :class:`~scanner.storage.patient_s3.PatientS3`); what remains is raised as it is, and
    :func:`~scanner.storage.is_transient` knows it.

    Multipart uploads: s3fs makes one from 100 MiB on and aborts it if it fails. One is left
    behind where the process is killed, where the abort itself fails in an outage, and where the
    answer that named a new upload was lost: the bucket needs a lifecycle rule that aborts
    incomplete uploads after some days.
    """

    url: str
    single_writer: bool = False
    _fs: Any = field(init=False, repr=False)
    _root: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._fs, self._root = split_url(self.url)
        if not (is_local(self._fs) or is_s3(self._fs) or self.single_writer):
            raise UserError(
                f"{self.url}: this store cannot create a file only if it is absent, which keeps "
                "two drivers from harming one another; use a local directory or s3://, or pass "
                "--single-writer and be sure that only one scan writes here"
            )

    @property
    def is_remote(self) -> bool:
        return not is_local(self._fs)

    def location(self, name: str) -> str:
        """The full path or URL of a name, as other tools write it."""
        return url_of(self._fs, self._path(name))

    def _path(self, name: str) -> str:
        return resolve(self._fs, self._root, name) if name else self._root

    @marks_storage
    def exists(self, name: str) -> bool:
        return self._fs.exists(self._path(name))

    def why_missing(self) -> str:
        """Why nothing can be in this place, "" where something can."""
        return missing_bucket(self._fs, self._root)

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder ("" for the top), sorted; [] where there is no folder."""
        return list(self.sizes(folder))

    @marks_storage
    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each file in a folder by name, sorted, by one listing; {} without a folder.

        Files that are being written, or were when their writer was killed, are left out.
        """
        top = self._path(folder)
        try:
            entries = self._fs.ls(top, detail=True)
        except FileNotFoundError:
            return {}
        sizes = {
            entry["name"].rsplit("/", 1)[1]: entry["size"]
            for entry in entries
            # A console marks a folder on S3 by an empty object of its name.
            if entry["type"] == "file" and entry["name"].rstrip("/") != top
        }
        return {
            f"{folder}/{name}" if folder else name: size
            for name, size in sorted(sizes.items())
            if not name.startswith(".")
        }

    @marks_storage
    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes; of a longer one than ``most`` the first ``most`` + 1."""
        path = self._path(name)
        if most is None:
            return self._fs.cat_file(path)
        if is_local(self._fs):
            with Path(path).open("rb") as file:
                return file.read(most + 1)
        return self._fs.cat_file(path, start=0, end=most + 1)

    @marks_storage
    def open(self, name: str, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open a file for reading. To write, use write, create or upload: all or nothing."""
        if "r" not in mode or "+" in mode:
            raise ValueError(f"a store's files are opened for reading only, not with mode {mode!r}")
        return self._fs.open(self._path(name), mode, **options)

    @marks_storage
    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file in one step: a reader sees the old one or the new one."""
        path = self._path(name)
        if is_local(self._fs):
            with temporary_file(path, lambda file: file.write(data)) as temporary:
                temporary.replace(path)
        else:
            self._fs.pipe_file(path, data)

    @marks_storage
    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if there is none.

        True if this call made it, False if another's was there. A file of the same content counts
        as made by this call: it can be its own write, tried again because the answer was lost.
        """
        path = self._path(name)
        if is_local(self._fs):
            made = create_file(path, data, self.single_writer)
        elif is_s3(self._fs):
            made = self._create_s3(path, data)
        else:
            made = not self._fs.exists(path)
            if made:
                self._fs.pipe_file(path, data)
        return made or self._fs.cat_file(path) == data

    @marks_storage
    def remove(self, name: str) -> None:
        self._fs.rm_file(self._path(name))

    @marks_storage
    def remove_folder(self, folder: str) -> None:
        """Remove every file under a folder; none where there is none. Raises OSError."""
        if not folder:
            raise ValueError("remove_folder needs a folder within the store")
        path = self._path(folder)
        if is_local(self._fs):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)
            return
        # One by one: not every S3 knows the request that deletes many, of whose refusals s3fs says
        # nothing.
        with ThreadPoolExecutor(REMOVERS) as threads:
            list(threads.map(self._fs.rm_file, self._fs.find(path)))

    @marks_storage
    def upload(self, local: Path, name: str) -> None:
        """Copy a local file into the store; it is there whole or not at all."""
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
        """Remove what killed writers left on a local disk; nothing elsewhere (see above).

        A file that was written to in the last ``older_than`` seconds may be another's at work.
        """
        since = time.time() - older_than
        for path in Path(self._root).rglob(".*") if is_local(self._fs) else ():
            if TEMPORARY.fullmatch(path.name) and path.is_file():
                with contextlib.suppress(FileNotFoundError):  # another was faster
                    if path.stat().st_mtime < since:
                        path.unlink()

    def _create_s3(self, path: str, data: bytes) -> bool:
        for attempt in range(CONFLICT_RETRIES):
            try:
                self._fs.pipe_file(path, data, mode="create")
                return True
            except OSError as error:
                code = _s3_code(error)
                if code in ("PreconditionFailed", "412"):
                    return False
                if code not in ("ConditionalRequestConflict", "409"):
                    raise
            time.sleep(0.05 * 2**attempt * random.uniform(0.5, 1))
        raise UserError(f"{path}: the store kept answering that another write is going on; retry")

    def preflight(self) -> int:
        """Race writers for one file, and return how many: exactly one must win.

        Raises UserError where the store is not writable or lets several win. With
        ``single_writer`` only writing is tried. A new local directory stays.
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
                "file: this store ignores conditional writes, so two scans could harm one "
                "another; use another store, or pass --single-writer for one scan at a time"
            )
        return racers


def _s3_code(error: OSError) -> str:
    """The S3 error code behind an exception of s3fs, which maps several codes to one errno."""
    if isinstance(error, FileExistsError) or error.errno == errno.EEXIST:
        return "PreconditionFailed"
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        seen = seen.__cause__
    return ""
