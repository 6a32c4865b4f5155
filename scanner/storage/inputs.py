"""Open an input file, or download a file or directory into a cache."""

import gzip
import hashlib
import posixpath
import re
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

import pyarrow as pa

from scanner.errors import UserError
from scanner.storage.downloads import download, files_at
from scanner.storage.node_lock import node_lock
from scanner.storage.outages import RETRY_SECONDS, raises_outages, retry_outages
from scanner.storage.stored import checksum_of
from scanner.storage.urls import is_http, split_url

_HTTP = ("http://", "https://")
# A ? before the first extension belongs to the name itself, as in ``cats?v=2.csv``.
_WITH_QUERY = re.compile(r"(.*?\.\w+)\?[\w.-]+=.*", re.DOTALL)
COMPRESSIONS = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd"}


def open_input(url: str, compression: str | None = None, **options: Any) -> IO[bytes]:
    """Open one input file; with ``compression="infer"`` decompress it according to its name.

    On S3, opening and reading wait for outages to end; :func:`is_transient` distinguishes an error
    that remains from a damaged file. HTTP files are read by ranges, or downloaded first if the
    server does not support them.
    """
    fs, path = split_url(url)
    kind = compression_of(path) if compression else None
    file = _open_http(fs, path, options) if is_http(fs) else fs.open(path, "rb", **options)
    if kind == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(file, "r"), kind)
    return cast(IO[bytes], gzip.GzipFile(fileobj=file)) if kind else file


def compression_of(name: str) -> str | None:
    """Return the compression that a file's name implies: gzip, zstd or None."""
    return COMPRESSIONS.get(posixpath.splitext(bare_name(name))[1])


def bare_name(url: str) -> str:
    """Return a file's name in lower case, without a query such as ``?download=true``."""
    name = posixpath.basename(urlsplit(url).path if url.startswith(_HTTP) else url).lower()
    with_query = _WITH_QUERY.fullmatch(name)
    return with_query[1] if with_query else name


def _open_http(fs: Any, path: str, options: dict[str, Any]) -> IO[bytes]:
    info = fs.info(path)
    if info.get("size") and info.get("partial", True):
        file = fs.open(path, size=info["size"], **options)
        try:
            # Only a request shows it: few servers announce that they do not support ranges.
            file.seek(info["size"] - 1)
            file.read(1)
            file.seek(0)
        except ValueError:
            file.close()
        else:
            return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    with fs.open(path, block_size=0) as remote:
        shutil.copyfileobj(remote, copy, 1 << 20)
    copy.seek(0)
    return copy


def fetch(url: str, cache: Path, retry_seconds: float = RETRY_SECONDS) -> Path:
    """Return a local copy of a file or directory in a store, made once per state of its files.

    Processes of a node that call it together download it once. Waits for outages for up to
    ``retry_seconds``. Raises UserError if there is nothing, or if a name in the directory leads out
    of it, and StoreOutage (or an error of S3) if the store stays unavailable.
    """
    with raises_outages(url), node_lock(cache / "locks", url):
        return retry_outages(_fetch, retry_seconds)(url, cache)


def _fetch(url: str, cache: Path) -> Path:
    fs, path = split_url(url)
    files, refused = files_at(fs, path)
    if refused:
        raise UserError(
            f"{url}: {len(refused):,} names in its listing lead out of it and are refused, such as "
            f"{refused[0]}; choose a location that holds only the files"
        )
    if not files:
        raise UserError(f"{url}: no such file or directory, or it is empty")
    own_name = Path(path).name if list(files) == [""] else ""
    state = [
        (
            info["name"],
            info.get("size"),
            str(checksum_of(info) or info.get("mtime") or info.get("created")),
        )
        for _, info in sorted(files.items())
    ]
    copy = cache / hashlib.sha256(repr((url, state)).encode()).hexdigest()[:32]
    if not copy.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            download(fs, files, Path(temporary, "copy"), own_name)
            try:
                Path(temporary, "copy").rename(copy)
            except OSError:
                if not copy.exists():  # otherwise another process was first
                    raise
    return copy / own_name
