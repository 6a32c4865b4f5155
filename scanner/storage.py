"""Every byte that is read or written goes through here: local paths and any fsspec URL.

The commit protocol of :mod:`scanner.run` rests on one primitive, :meth:`Store.create`: write a
file only if no one has. S3 does it with ``If-None-Match: *``; on a local disk a synced temporary
file is hard-linked to its final name. Any other store has to be allowed with ``single_writer``.
"""

import errno
import hashlib
import os
import re
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.core import url_to_fs

from scanner.errors import UserError

RACERS = 16
CONFLICT_RETRIES = 8


def split_url(url: str) -> tuple[Any, str]:
    """The filesystem of a URL or local path, and the path in it. Listings are never cached."""
    options: dict[str, Any] = {}
    if re.match(r"[a-z0-9+]+://[^/@]*:[^/@]*@", url):
        raise UserError(
            f"{url.split('://')[0]}://***: a password in a URL would end up in tables and logs; "
            "give it by the environment (AWS_ACCESS_KEY_ID …) or the store's own configuration"
        )
    if url.startswith(("s3://", "s3a://")):
        options = {"use_listings_cache": False, "skip_instance_cache": True}
    elif "://" not in url:
        url = "file://" + str(Path(url).expanduser().absolute())
    try:
        fs, path = url_to_fs(url, **options)
    except (ValueError, ImportError) as error:
        raise UserError(f"{url}: this kind of location cannot be opened: {error}") from error
    return fs, path.rstrip("/")


def full_url(url: str) -> str:
    """A URL as it is, a local path made absolute."""
    fs, path = split_url(url)
    return _url_of(fs, path)


def open_input(url: str, mode: str = "rb", **options: Any) -> IO[Any]:
    """Open one input file; compression is told from its name."""
    fs, path = split_url(url)
    return fs.open(path, mode, **options)


def expand(urls: tuple[str, ...], endings: tuple[str, ...]) -> list[str]:
    """Files named by ``urls``: files as they are, globs and directories (recursively) by ending.

    The order is the order of ``urls``, then by name. Raises UserError where a URL names nothing.
    """
    found: list[str] = []
    for url in urls:
        fs, path = split_url(url)
        if any(letter in path for letter in "*?["):
            matched = [name for name in fs.glob(path) if fs.isfile(name)]
            matched += [name for f in fs.glob(path) if fs.isdir(f) for name in fs.find(f)]
            names = [name for name in dict.fromkeys(matched) if name.lower().endswith(endings)]
        elif fs.isdir(path):
            names = [name for name in fs.find(path) if name.lower().endswith(endings)]
        elif fs.exists(path):
            names = [path]
        else:
            raise UserError(f"{url}: no such file, directory or object; check the path")
        if not names:
            raise UserError(f"{url}: no file ends in one of {', '.join(endings)}")
        found += [_url_of(fs, name) for name in sorted(names)]
    return list(dict.fromkeys(found))


def _url_of(fs: Any, path: str) -> str:
    return path if _is_local(fs) else fs.unstrip_protocol(path)


def _is_local(fs: Any) -> bool:
    return isinstance(fs, fsspec.get_filesystem_class("file"))


def _is_s3(fs: Any) -> bool:
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return protocol in ("s3", "s3a")


def fetch(url: str, cache: Path) -> Path:
    """A local copy of a file or directory in a store, made once for each state of its files."""
    fs, path = split_url(url)
    files = fs.find(path, detail=True)
    if not files:
        raise UserError(f"{url}: no such file or directory, or it is empty")
    own_name = Path(path).name if list(files) == [path] else ""
    state = [
        (name, info["size"], str(info.get("ETag") or info.get("mtime") or info.get("created")))
        for name, info in sorted(files.items())
    ]
    copy = cache / hashlib.sha256(repr((url, state)).encode()).hexdigest()[:32]
    if not copy.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            for name in files:
                target = Path(temporary, "copy", own_name or name[len(path) :].lstrip("/"))
                target.parent.mkdir(parents=True, exist_ok=True)
                fs.get_file(name, str(target))
            try:
                Path(temporary, "copy").rename(copy)
            except OSError:
                if not copy.exists():  # else another process was first
                    raise
    return copy / own_name


@dataclass
class Store:
    """A directory that one run owns, at a local path or URL; names in it are relative."""

    url: str
    single_writer: bool = False
    _fs: Any = field(init=False, repr=False)
    _root: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._fs, self._root = split_url(self.url)
        if not (_is_local(self._fs) or _is_s3(self._fs) or self.single_writer):
            raise UserError(
                f"{self.url}: this store cannot create a file only if it is absent, which keeps "
                "two drivers from harming one another; use a local directory or s3://, or pass "
                "--single-writer and be sure that only one scan writes here"
            )

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem, for readers that bring their own file handling."""
        return self._fs

    @property
    def is_remote(self) -> bool:
        return not _is_local(self._fs)

    def location(self, name: str) -> str:
        """The full path or URL of a name, as other tools write it."""
        return _url_of(self._fs, self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def exists(self, name: str) -> bool:
        return self._fs.exists(self._path(name))

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder ("" for the top), sorted; [] where there is no folder."""
        try:
            paths = self._fs.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        names = [path.rstrip("/").rsplit("/", 1)[1] for path in paths]
        names = [name for name in names if not name.startswith(".")]  # being written
        return sorted(f"{folder}/{name}" if folder else name for name in names)

    def read(self, name: str) -> bytes:
        return self._fs.cat_file(self._path(name))

    def open(self, name: str, mode: str = "rb", **options: Any) -> IO[Any]:
        return self._fs.open(self._path(name), mode, **options)

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file in one step: a reader sees the old one or the new one."""
        path = self._path(name)
        if _is_local(self._fs):
            temporary = self._temporary(path, data)
            temporary.replace(path)
        else:
            self._fs.pipe_file(path, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if there is none. True if this call made it, False if it was there."""
        path = self._path(name)
        if _is_local(self._fs):
            return self._create_local(path, data)
        if _is_s3(self._fs):
            return self._create_s3(path, data)
        if self._fs.exists(path):
            return False
        self._fs.pipe_file(path, data)
        return True

    def remove(self, name: str) -> None:
        self._fs.rm_file(self._path(name))

    def upload(self, local: Path, name: str) -> None:
        """Copy a local file into the store."""
        path = self._path(name)
        if _is_local(self._fs):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._fs.put_file(str(local), path)

    @staticmethod
    def _temporary(path: str, data: bytes) -> Path:
        folder, name = Path(path).parent, Path(path).name
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{name}.{uuid.uuid4().hex}"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    def _create_local(self, path: str, data: bytes) -> bool:
        temporary = self._temporary(path, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def _create_s3(self, path: str, data: bytes) -> bool:
        for attempt in range(CONFLICT_RETRIES):
            try:
                self._fs.pipe_file(path, data, mode="create")
                return True
            except OSError as error:
                code = _s3_code(error)
                if code in ("PreconditionFailed", "412"):
                    # It can be our own write, retried by the client after a lost answer.
                    return self._fs.cat_file(path) == data
                if code not in ("ConditionalRequestConflict", "409"):
                    raise
                time.sleep(0.05 * 2**attempt)
        raise UserError(f"{path}: the store kept answering that another write is going on; retry")

    def preflight(self) -> int:
        """Race writers for one file, and return how many: exactly one must win.

        Raises UserError where the store is not writable or lets several win. With
        ``single_writer`` only writing is tried.
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
