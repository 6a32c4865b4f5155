"""What a user names to be read: files, directories, globs."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import IO, Any

from scanner.errors import UserError
from scanner.storage.urls import is_local, missing_bucket, split_url, url_of


def open_input(url: str, mode: str = "rb", **options: Any) -> IO[Any]:
    """Open one input file; compression is told from its name.

    On S3, opening and reading wait an outage out; :func:`is_transient` tells an error that
    remains from a damaged file.
    """
    fs, path = split_url(url)
    return fs.open(path, mode, **options)


def expand(urls: tuple[str, ...], endings: tuple[str, ...]) -> list[str]:
    """Files named by ``urls``: files as they are, globs and directories (recursively) by ending.

    The order is the order of ``urls``, then by name. Raises UserError where a URL names nothing, or
    where a directory cannot be listed.
    """
    found: list[str] = []
    for url in urls:
        fs, path = split_url(url)
        names = _named(fs, path, url, endings)
        if not names:
            raise UserError(f"{url}: no file ends in one of {', '.join(endings)}")
        found += [url_of(fs, name) for name in sorted(names)]
    return list(dict.fromkeys(found))


def _named(fs: Any, path: str, url: str, endings: tuple[str, ...]) -> list[str]:
    if any(letter in path for letter in "*?["):
        matched = fs.glob(path)
        if not matched:
            nothing = (
                "nothing matches; a directory is read with all below it, and ** matches "
                "directories of any depth"
            )
            raise UserError(f"{url}: {missing_bucket(fs, path) or nothing}")
        names = [name for name in matched if fs.isfile(name)]
        names += [name for one in matched if fs.isdir(one) for name in _below(fs, one)]
    elif fs.isdir(path):
        names = _below(fs, path)
    elif fs.exists(path):
        return [path]
    else:
        why = missing_bucket(fs, path) or "no such file, directory or object"
        raise UserError(f"{url}: {why}; check the path and the bucket")
    return [name for name in dict.fromkeys(names) if name.lower().endswith(endings)]


def _below(fs: Any, path: str) -> list[str]:
    """Every file below a directory. Raises UserError for what may not be listed, which fsspec
    passes over on a local disk."""
    if not is_local(fs):
        return fs.find(path)

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be listed: {error.strerror}, and what is in it would be "
            "missed; allow it, or name the files to read"
        ) from error

    # As fsspec: links to files are read, links to directories are not entered.
    walk = os.walk(path, onerror=refuse)
    return [str(Path(folder, name)) for folder, _, names in walk for name in names]


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
