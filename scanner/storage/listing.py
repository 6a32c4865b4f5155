"""List the files that URLs, globs and directories name, each once, and the skipped ones."""

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scanner.errors import UserError
from scanner.storage.hub_revisions import pinned, without_revision
from scanner.storage.outages import is_transient, raises_outages, retry_outages
from scanner.storage.urls import is_http, is_local, missing_bucket, split_url, url_of
from scanner.storage.walking import NOT_REGULAR, SAME, Pattern, Skipped, skipped_lines, walk

EARLIER = "already in this run"
NO_SUCH_PAGE = 404
_MAGIC = re.compile(r"[*?[]")
# Returns why a file is skipped, "" if it is read. Arguments: its name, whether the user named it.
Judge = Callable[[str, bool], str]


@dataclass(frozen=True)
class Listing:
    """Files to read, with sizes in bytes, in order; and the skipped files by reason."""

    files: dict[str, int] = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)
    _names: dict[Any, str] = field(default_factory=dict, repr=False)
    _earlier: set[Any] = field(default_factory=set, repr=False)

    def leave_out(self, urls: Iterable[str]) -> None:
        """Skip these files under any name."""
        self._earlier.update(map(_identity, urls))

    def add(self, urls: Iterable[str], judge: Judge) -> list[str]:
        """Add the files that ``urls`` name, and return those that were not listed before.

        A URL is a file, a glob or a directory, which is read recursively; an existing name is never
        a glob. Files on the hub are pinned to a commit. Files are ordered by ``urls``, then by
        name. Raises UserError if a URL matches no readable file or a directory cannot be listed.
        """
        added: list[str] = []
        for url in urls:
            with raises_outages(url):
                url = retry_outages(pinned)(url)
                fs, path = split_url(url)
                named, here = retry_outages(_list_named)(fs, path, url, judge)
            for name, size in named:
                full = url_of(fs, name)
                identity = _identity(full)
                known = self._names.setdefault(identity, full)
                if identity in self._earlier:
                    here.add(EARLIER, full)
                elif known != full or full in self.files:
                    here.add(SAME, f"{full} ({known})")
                else:
                    self.files[full] = size
                    added.append(full)
            if not named:
                why = "; ".join(skipped_lines(here.to_json()))
                raise UserError(f"{url}: no file here can be read{': ' * bool(why)}{why}")
            self.skipped.update(here)
        return added


def _identity(url: str) -> Any:
    """Return a value equal for all names of one file: links, hard links and ``..`` resolved."""
    if url.startswith(("http://", "https://")):
        return unquote(url.partition("#")[0])
    if "://" in url and not url.startswith("file://"):
        return without_revision(url)
    _, path = split_url(url)
    try:
        found = Path(path).stat()
    except OSError:
        return os.path.realpath(path)
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _list_named(
    fs: Any, path: str, url: str, judge: Judge
) -> tuple[list[tuple[str, int]], Skipped]:
    """Return the files of one URL, with their sizes, and the skipped ones. Raises UserError."""
    skipped = Skipped()
    return list(_named(fs, path, url, judge, skipped)), skipped


def _named(
    fs: Any, path: str, url: str, judge: Judge, skipped: Skipped
) -> Iterator[tuple[str, int]]:
    """Yield the files of one URL, with their sizes. Raises UserError."""
    if is_local(fs) and ".." in Path(path).parts:
        path = os.path.realpath(path)
    kind, size = _kind(fs, path)
    if kind == "directory":
        yield from _judged(fs, walk(fs, path, Pattern(), skipped), judge, False, skipped)
    elif kind == "file":
        if why := judge(path, True):
            raise UserError(f"{url}: {why}")
        yield path, size
    elif kind:
        raise UserError(f"{url}: {NOT_REGULAR}, which cannot be read twice; copy it to a file")
    elif _MAGIC.search(urlsplit(path).path if is_http(fs) else path):
        yield from _matched(fs, path, url, judge, skipped)
    else:
        why = missing_bucket(fs, path) or _unanswered(fs, path)
        why = why or "no such file, directory or object"
        raise UserError(f"{url}: {why}; check the path and the bucket")


def _kind(fs: Any, path: str) -> tuple[str, int]:
    """Return the kind of a literal name (file, directory, other, "" if absent) and its size."""
    if is_local(fs):
        try:
            found = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return "", 0
        is_file = stat.S_ISREG(found.st_mode)
        folder = stat.S_ISDIR(found.st_mode)
        return "directory" if folder else "file" if is_file else "other", found.st_size
    if is_http(fs) and not posixpath.splitext(urlsplit(path).path)[1]:
        # Only fetching it shows whether it is a page of links; a file's name has an extension.
        return "directory" if fs.exists(path) else "", 0
    try:
        info = fs.info(path)
    except FileNotFoundError as error:
        if is_transient(error):  # HTTP file systems raise it for any failure
            raise
        return "", 0
    return info["type"], info.get("size") or 0


def _unanswered(fs: Any, path: str) -> str:
    """Return an HTTP error other than a missing file, or that no server answers; else ""."""
    if not is_http(fs):
        return ""
    try:
        fs.info(path)
    except FileNotFoundError as error:
        if is_transient(error):
            raise
        cause = error.__cause__
        if cause is not None and getattr(cause, "status", None) != NO_SUCH_PAGE:
            return f"{type(cause).__name__}: {cause}"
    return ""


def _matched(
    fs: Any, path: str, url: str, judge: Judge, skipped: Skipped
) -> Iterator[tuple[str, int]]:
    """Yield the files that a glob matches, and those below the directories that it matches."""
    root, glob = _split_glob(fs, path)
    named = bool(posixpath.splitext(glob)[1])
    found = False
    if _kind(fs, root)[0] == "directory":
        for file in _judged(fs, walk(fs, root, Pattern(glob), skipped), judge, named, skipped):
            found = True
            yield file
    if not (found or skipped.counts):
        nothing = (
            "nothing matches; directories are read recursively, and ** matches directories of any "
            "depth"
        )
        raise UserError(f"{url}: {missing_bucket(fs, path) or nothing}")


def _split_glob(fs: Any, path: str) -> tuple[str, str]:
    """Split into the longest literal directory and the pattern below it."""
    parts = path.split("/")
    end = 0
    for end, part in enumerate(parts):
        # A directory's name can look like a pattern.
        if _MAGIC.search(part) and not fs.isdir("/".join(parts[: end + 1])):
            break
    return "/".join(parts[:end]) or "/", "/".join(parts[end:])


def literal_part(url: str) -> str:
    """Return the literal directory of a glob as a full URL; "" if the location is not a glob."""
    fs, path = split_url(url)
    if not _MAGIC.search(urlsplit(path).path if is_http(fs) else path):
        return ""
    return url_of(fs, _split_glob(fs, path)[0])


def _judged(
    fs: Any, files: Iterable[tuple[str, int]], judge: Judge, named: bool, skipped: Skipped
) -> Iterator[tuple[str, int]]:
    for name, size in files:
        if why := judge(name, named):
            skipped.add(why, url_of(fs, name))
        else:
            yield name, size
