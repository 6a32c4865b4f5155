"""The committed parts of a run, and whether they are as they were written."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scanner.run.commits import Commits
from scanner.run.compaction import KINDS, Layout, is_merged
from scanner.run.records import Commit, DamagedFile, Part
from scanner.storage import Store


@dataclass(frozen=True)
class Results:
    """The commits that hold a run's results, each with the ids of its slices, in the order of the
    plan.

    ``damaged``: slices whose results cannot be read, and why; ``errors``: of their commits.
    """

    held: tuple[tuple[Commit, tuple[str, ...]], ...]
    damaged: dict[str, str]
    errors: tuple[DamagedFile, ...] = ()

    def slices(self) -> set[str]:
        """Return the ids of the slices whose results these are."""
        return {name for _, slices in self.held for name in slices}

    def parts(self) -> Iterator[tuple[Part, tuple[str, ...]]]:
        """Yield every part with the ids of the slices whose rows it has."""
        for commit, slices in self.held:
            for part in commit.parts:
                yield part, slices


def load_results(slices: Commits, groups: Commits, layout: Layout) -> Results:
    """Read the commits of a layout: one request per merged group and per single slice.

    ``slices``, ``groups``: the commits of both.
    """
    held: list[tuple[Commit, tuple[str, ...]]] = []
    damaged: dict[str, str] = {}
    errors: list[DamagedFile] = []

    def add(commit: Commit | DamagedFile, names: tuple[str, ...]) -> None:
        if isinstance(commit, Commit):
            held.append((commit, names))
        else:
            damaged.update(dict.fromkeys(names, f"its commit is damaged ({commit.why})"))
            errors.append(commit)

    single = {item.id: item.generation for item in layout.single}
    merged = groups.load({group.id: group.generation for group in layout.merged})
    for group in layout.merged:
        commit = merged[group.id]
        if isinstance(commit, DamagedFile) or is_merged(commit):
            add(commit, tuple(item.id for item in group.slices))
        else:
            damaged.update(commit.notes.get("damaged", {}))
            single.update({item.id: item.generation for item in group.slices})
    for name, commit in slices.load(single).items():
        add(commit, (name,))
    held.sort(key=lambda pair: pair[1][0])
    return Results(tuple(held), damaged, tuple(errors))


def compare_with_listing(store: Store, parts: Iterable[Part]) -> tuple[dict[str, str], list[Part]]:
    """Compare parts with one listing per folder.

    Returns by path why a part is damaged (missing, or of another size), and the parts whose
    stored checksum has changed, which only reading them can judge.
    """
    by_folder: dict[str, list[Part]] = {}
    for part in parts:
        by_folder.setdefault(part.path.rpartition("/")[0], []).append(part)
    damaged: dict[str, str] = {}
    suspects: list[Part] = []
    for folder, here in by_folder.items():
        files = store.files(folder)
        for part in here:
            file = files.get(part.path)
            if file is None:
                damaged[part.path] = f"{part.path} is missing"
            elif file.size != part.bytes:
                damaged[part.path] = f"{part.path} is damaged"
            elif part.etag and file.etag and part.etag != file.etag:
                suspects.append(part)
    return damaged, suspects


def read_part(store: Store, part: Part) -> bytes:
    """Return a part's bytes. Raises DamagedPart if it is missing or has another checksum."""
    try:
        data = store.read(part.path, part.bytes)  # no further than the commit says
    except FileNotFoundError as error:
        raise DamagedPart(f"{part.path} is missing") from error
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise DamagedPart(f"{part.path} is damaged")
    return data


class DamagedPart(Exception):
    """A part is missing, or its content has changed since it was committed."""


def rows_of(commit: Commit, kind: str) -> int:
    """Return the rows of a kind of table in a slice's or a group's commit."""
    return commit.rows(kind) + commit.rows(KINDS[kind])
