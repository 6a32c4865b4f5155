"""Walk a directory: yield the files that a dataset reader would read, and record skipped ones.

Hidden files and directories (``_temporary``, ``.ipynb_checkpoints``, ``._x.parquet``) are skipped
as in Spark and Hadoop, and so are non-current files of a Delta table. Links are followed within the
directory and refused if they leave it.
"""

import os
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsspec.utils import glob_translate

from scanner.errors import UserError
from scanner.storage.names import name_below, refused_links
from scanner.storage.tables import DELTA_LOG, live_files, refuse_other_tables
from scanner.storage.urls import is_local, url_of

EXAMPLES = 20
SHOWN = 3
HIDDEN = "hidden (the name begins with _ or .)"
SAME = "the same file or directory under another name"
NOT_REGULAR = "not a regular file"
BROKEN = "a broken link"
OUTSIDE = "a link out of the directory (name its target, or a directory that contains both)"
ELSEWHERE = "a listed name that leads out of the directory"
REMOVED = "not part of the current version of its Delta table"


@dataclass
class Skipped:
    """Skipped files: the number per reason, and the first names of each."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        named = self.first.setdefault(reason, [])
        if len(named) < EXAMPLES:
            named.append(name)

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Skipped":
        """Read the output of :meth:`to_json`."""
        counts = {reason: found["files"] for reason, found in record.items()}
        return cls(counts, {reason: list(found["first"]) for reason, found in record.items()})

    def update(self, other: "Skipped") -> None:
        """Add the counts and names of another instance."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            named = self.first.setdefault(reason, [])
            named += other.first[reason][: EXAMPLES - len(named)]

    def to_json(self) -> dict[str, Any]:
        return {
            reason: {"files": count, "first": list(self.first[reason])}
            for reason, count in self.counts.items()
        }


def skipped_lines(skipped: dict[str, Any]) -> list[str]:
    """Return one line per reason, most frequent first, from :meth:`Skipped.to_json`."""
    lines = []
    for reason, found in sorted(skipped.items(), key=lambda item: -item[1]["files"]):
        more = found["files"] - SHOWN
        named = ", ".join(found["first"][:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        lines.append(f"{found['files']:,} skipped, {reason}: {named}")
    return lines


class Pattern:
    """Glob below a directory; an empty one matches everything."""

    def __init__(self, glob: str = "") -> None:
        self._glob = glob
        self._whole = re.compile(glob_translate(glob)) if glob else None
        self._parts = [re.compile(glob_translate(part)) for part in glob.split("/")]
        self._literal_prefixes = {part[0] for part in glob.split("/") if part[:1] in ("_", ".")}

    @property
    def is_everything(self) -> bool:
        return self._whole is None

    @property
    def depth(self) -> int | None:
        """Number of levels that it matches; None for any number."""
        return None if not self._glob or "**" in self._glob else len(self._parts)

    def matches(self, parts: list[str]) -> bool:
        """Return whether it matches a path or a parent directory, which is read recursively."""
        ends = range(1, len(parts) + 1)
        return self._whole is None or any(self._whole.match("/".join(parts[:end])) for end in ends)

    def enters(self, parts: list[str]) -> bool:
        """Return whether something below a directory can match."""
        if self.depth is None:
            return True
        return all(one.match(part) for one, part in zip(self._parts, parts, strict=False))

    def is_hidden(self, part: str) -> bool:
        """Return whether a name begins with _ or ., unless the glob spells it out or it is a
        partition (``_x=1``)."""
        if part[:1] not in ("_", ".") or part[0] in self._literal_prefixes:
            return False
        return part[0] == "." or "=" not in part


def walk(fs: Any, root: str, pattern: Pattern, skipped: Skipped) -> Iterable[tuple[str, int]]:
    """Yield every file below a directory with its size, by name; record the others in ``skipped``.

    Raises UserError for a directory that cannot be listed, or a table whose current files cannot be
    determined.
    """
    walker = _Walk(fs, root, pattern, skipped)
    (walker.local if is_local(fs) else walker.remote)()
    live = {table: live_files(fs, table) for table in walker.tables}
    for table, names in live.items():
        missing = names - {name for name, _ in walker.files}
        if missing and pattern.is_everything:
            raise UserError(
                f"{url_of(fs, table)}: {len(missing):,} current files of this Delta table are not "
                f"in its directory, such as {min(missing)}; write it out as plain Parquet"
            )
    for name, size in sorted(walker.files):
        tables = [table for table in live if name.startswith(f"{table}/")]
        if any(name not in live[table] for table in tables):
            skipped.add(REMOVED, url_of(fs, name))
        else:
            yield name, size


class _Walk:
    """One walk below ``root``, collecting files with sizes and directories of Delta tables."""

    def __init__(self, fs: Any, root: str, pattern: Pattern, skipped: Skipped) -> None:
        self.fs, self.root, self.pattern, self.skipped = fs, root, pattern, skipped
        self.files: list[tuple[str, int]] = []
        self.tables: list[str] = []

    def _skip(self, reason: str, name: str, is_folder: bool = False) -> None:
        parts = self._parts_below(name)
        if self.pattern.enters(parts) if is_folder else self.pattern.matches(parts):
            self.skipped.add(reason, url_of(self.fs, name) + "/" * is_folder)

    def _parts_below(self, name: str) -> list[str]:
        return name[len(self.root) :].lstrip("/").split("/")

    # -- stores: one recursive listing ---------------------------------------------------------

    def remote(self) -> None:
        hidden: set[str] = set()
        for name, info in self._listed().items():
            parts = self._parts_below(name)
            refuse_other_tables(url_of(self.fs, self.root), parts)
            place = next((n for n, part in enumerate(parts) if self.pattern.is_hidden(part)), None)
            if place is not None:
                top = "/".join([self.root, *parts[: place + 1]])
                if top in hidden:
                    continue
                hidden.add(top)
                if parts[place] == DELTA_LOG:
                    self.tables.append(posixpath.dirname(top))
                else:
                    self._skip(HIDDEN, top, place + 1 < len(parts))
            elif info["type"] == "file" and self.pattern.matches(parts):
                self.files.append((name, info.get("size") or 0))

    def _listed(self) -> dict[str, Any]:
        """Return all entries below the root, as deep as the pattern goes and recursively where it
        matches a directory; omits empty objects with which consoles mark a folder."""
        depth = self.pattern.depth
        found = self.fs.find(self.root, maxdepth=depth, withdirs=bool(depth), detail=True)
        for name, info in list(found.items()):
            if (
                depth
                and info["type"] == "directory"
                and self.pattern.matches(self._parts_below(name))
            ):
                found |= self.fs.find(name, detail=True)
        below = {name for name in found if name_below(self.root, name) is not None}
        for name in sorted(set(found) - below - {self.root}) + refused_links(self.fs, self.root):
            self.skipped.add(ELSEWHERE, name)
        return {name: found[name] for name in found if name in below and not name.endswith("/")}

    # -- local disks: links, pipes, and unreadable directories ---------------------------------

    def local(self) -> None:
        top = os.path.realpath(self.root)
        waiting = [self.root]
        entered: set[str] = set()
        while waiting:
            for link in self._enter(waiting.pop(), top, waiting):
                target = os.path.realpath(link)
                inside = Path(target).relative_to(top).parts
                # An entry that is not hidden is listed under its own name.
                if target in entered or not any(map(self.pattern.is_hidden, inside)):
                    self._skip(SAME, link, True)
                else:
                    entered.add(target)
                    waiting.append(link)

    def _enter(self, folder: str, top: str, waiting: list[str]) -> list[str]:
        """Collect a directory's files, queue its directories, and return links to directories."""
        links: list[str] = []
        for entry in _entries(folder):
            parts = self._parts_below(entry.path)
            refuse_other_tables(url_of(self.fs, folder), parts)
            if entry.name == DELTA_LOG and entry.is_dir():
                self.tables.append(folder)
            elif self.pattern.is_hidden(entry.name):
                self._skip(HIDDEN, entry.path, entry.is_dir())
            elif entry.is_symlink() and (why := _why_refused(entry.path, top)):
                self._skip(why, entry.path)
            elif entry.is_dir():
                if self.pattern.enters(parts):
                    (links if entry.is_symlink() else waiting).append(entry.path)
            elif not self.pattern.matches(parts):
                continue
            elif entry.is_file():
                self.files.append((entry.path, entry.stat().st_size))
            else:
                self._skip(NOT_REGULAR, entry.path)
        return links


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return a directory's entries by name. Raises UserError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{error.filename}: cannot be listed: {error.strerror}, so its files would be "
            "missed; grant access, or name the files to read"
        ) from error


def _why_refused(link: str, top: str) -> str:
    """Return why a link is not followed, "" if it is."""
    target = os.path.realpath(link)
    if not Path(target).exists():
        return BROKEN
    return "" if Path(target).is_relative_to(top) else OUTSIDE
