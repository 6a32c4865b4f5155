"""Which slices' small parts are merged into larger ones, and which commits hold a run's results.

Readers open every file that a manifest lists. Before a run is sealed, the parts of consecutive
slices are therefore merged. The commit protocol covers this step too: a merged part is written
under a unique name, then ``compaction/FIRST-LAST.N.json`` is created if absent. ``N``, the number
of commits of the group's slices, grows with every slice that is scored again, so that an outdated
merge is never read. A merge that could not be made is committed too, without parts.

Whatever is wrong with a merged part or its commit, its slices are scored again: their own parts may
have been removed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scanner.run.commits import Commits
from scanner.run.records import Commit
from scanner.run.slices import Slice
from scanner.storage import Store

FOLDER = "compaction"
# Groups whose slices' own parts are removed, by commits without parts.
REMOVED_FOLDER = f"{FOLDER}/removed"
# Where merged parts of a kind are stored.
KINDS = {kind: f"compacted/{kind}" for kind in ("scores", "rejects")}
# Kinds of parts with scores.
SCORES = ("scores", KINDS["scores"])
REMEDY = "rerun the same memscan scan with --repair, which scores its slices again"


@dataclass(frozen=True)
class GroupSizes:
    """Which slices are merged: consecutive ones with ascending caption ids, up to ``rows`` captions
    per group, if the run has at least ``min_slices`` slices.

    The default gives parts of about 40 MB (290 bytes per caption of ``standard``).
    """

    rows: int = 1 << 17
    min_slices: int = 64


DEFAULT_SIZES = GroupSizes()


class SliceVersion(NamedTuple):
    """A committed slice: the generation of its commit, and its planned captions."""

    id: str
    generation: int
    rows: int


@dataclass(frozen=True)
class Group:
    """Consecutive committed slices whose parts are merged; picklable and small."""

    slices: tuple[SliceVersion, ...]

    @property
    def id(self) -> str:
        return f"{self.slices[0].id}-{self.slices[-1].id}"

    @property
    def generation(self) -> int:
        """Number of commits of the slices, the generation of the group's commit."""
        return sum(item.generation + 1 for item in self.slices)

    @property
    def rows(self) -> int:
        """Number of captions planned."""
        return sum(item.rows for item in self.slices)


@dataclass(frozen=True)
class Layout:
    """Where the results of the committed slices are, in the order of the plan: in the commit of a
    group (``merged``) or in separate commits (``single``).

    ``pending``: groups of single slices to be merged.
    """

    merged: tuple[Group, ...]
    single: tuple[SliceVersion, ...]
    pending: tuple[Group, ...]

    def is_current(self, compacted: Mapping[str, int]) -> bool:
        """Return whether a listing of ``compaction/`` has no merge that is newer than this."""
        merged = {group.id: group.generation for group in self.merged}
        pending = {group.id: group.generation for group in self.pending}
        return all(
            merged.get(name) == generation or generation < pending.get(name, -1)
            for name, generation in compacted.items()
        )


def compaction_commits(store: Store, fingerprint: str = "") -> Commits:
    """Return the commits of merged groups."""
    return Commits(store, FOLDER, fingerprint, REMEDY)


def is_merged(commit: Commit) -> bool:
    """Return whether a group's commit has its slices' results."""
    return not (commit.notes.get("damaged") or commit.notes.get("refused"))


def arrange(
    slices: Sequence[Slice],
    done: Mapping[str, int],
    compacted: Mapping[str, int],
    sizes: GroupSizes,
) -> Layout:
    """Return where results are by the listings of ``commits/`` and ``compaction/`` (id →
    generation), of which that of ``compaction/`` was made first.

    Groups that were merged once stay as they were; further slices of a run form new groups.
    """
    merged: list[Group] = []
    pending: list[Group] = []
    single: list[SliceVersion] = []
    merges = len(slices) >= sizes.min_slices
    for found in _groups(slices, compacted, sizes.rows):
        versions = tuple(
            SliceVersion(item.id, done[item.id], item.rows) for item in found if item.id in done
        )
        group = Group(versions) if len(versions) == len(found) > 1 else None
        if group and compacted.get(group.id) == group.generation:
            merged.append(group)
            continue
        single += versions
        if group and (merges or group.id in compacted):
            pending.append(group)
    return Layout(tuple(merged), tuple(single), tuple(pending))


def _groups(
    slices: Sequence[Slice], compacted: Mapping[str, int], rows: int
) -> Iterator[list[Slice]]:
    """Yield runs of consecutive slices: existing groups, and between them new ones."""
    last_of = dict(name.split("-", 1) for name in compacted if "-" in name)
    group: list[Slice] = []
    held, last = 0, ""
    for item in slices:
        is_full = held >= rows and not last
        if group and (is_full or item.first < group[-1].last or item.id in last_of):
            yield group
            group, held, last = [], 0, ""
        last = last or (not group and last_of.get(item.id)) or ""
        group.append(item)
        held += item.rows
        if item.id == last:
            yield group
            group, held, last = [], 0, ""
    if group:
        yield group
