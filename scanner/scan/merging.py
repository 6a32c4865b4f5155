"""The work of finishing, on the pool: merge the parts of slices, read parts again, remove parts."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from scanner.cluster import Result
from scanner.run import Commit, Commits, Output
from scanner.run.commits import READERS
from scanner.run.compaction import KINDS, Group
from scanner.run.part_tables import read_part_table
from scanner.run.records import DamagedFile, Part
from scanner.run.rejects import reasons_in
from scanner.run.results import DamagedPart, read_part
from scanner.storage import Store

# Captions per row group of a merged part: queries skip row groups by their range of caption ids.
ROW_GROUP = 1 << 13
# Parts read at a time, each of up to some ten megabytes.
CHECKERS = 4

ValueT = TypeVar("ValueT")
ItemT = TypeVar("ItemT")


@dataclass
class Tables:
    """What was read for a group: tables by kind, and the parts that they are from.

    ``damaged``: slices whose commit or parts cannot be read; ``refused``: why the group must not
    be merged.
    """

    tables: dict[str, list[pa.Table]]
    parts: list[Part]
    damaged: dict[str, str]
    refused: str = ""


@dataclass(frozen=True)
class PartMergeWork:
    """Merges the parts of a group of slices, without changing a value (scanner.cluster.Work).

    ``fingerprint``: id of the run's, which every commit must have.
    """

    store: Store
    fingerprint: str

    def __call__(self) -> "PartMergeWork":
        return self

    def prepare(self, group: Group) -> Tables:
        """Read the parts of the group, each against its checksum."""
        commits = Commits(self.store).load({item.id: item.generation for item in group.slices})
        read = Tables({kind: [] for kind in KINDS}, [], {})
        pairs: list[tuple[str, Part]] = []
        for item in group.slices:
            commit = commits[item.id]
            if isinstance(commit, DamagedFile):
                read.damaged[item.id] = f"its commit is damaged ({commit.why})"
            elif self._is_foreign(commit, item.rows):
                read.refused = f"{commit.name} does not match the run"
            else:
                pairs += [(item.id, part) for part in commit.parts]
        if read.refused:
            return read
        found = _in_threads(READERS, lambda pair: _read(self.store, pair[1]), pairs)
        for (name, part), table in zip(pairs, found, strict=True):
            if isinstance(table, DamagedPart):
                read.damaged[name] = str(table)
            else:
                read.tables[part.kind].append(table)
        read.parts = [part for _, part in pairs]
        return read

    def compute(self, prepared: Tables) -> Tables:
        return prepared

    def finish(self, computed: Tables) -> Result:
        if computed.refused:
            return Result([], {"refused": computed.refused})
        if computed.damaged:
            return Result([], {"damaged": computed.damaged})
        merged = {kind: pa.concat_tables(few) for kind, few in computed.tables.items() if few}
        rejects = merged.get("rejects")
        notes = {
            "replaced": [part.path for part in computed.parts],
            "reasons": reasons_in(rejects["reason"]) if rejects else {},
        }
        outputs = [Output(KINDS[kind], table, ROW_GROUP) for kind, table in merged.items()]
        return Result(outputs, notes)

    def _is_foreign(self, commit: Commit, rows: int) -> bool:
        known = all(part.kind in KINDS for part in commit.parts)
        done = sum(part.rows for part in commit.parts)
        return commit.fingerprint != self.fingerprint or done != rows or not known


def _read(store: Store, part: Part) -> pa.Table | DamagedPart:
    try:
        return read_part_table(store, part)
    except DamagedPart as error:
        return error


@dataclass(frozen=True)
class PartBatch:
    """Parts that are read together; picklable and small."""

    id: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class CheckWork:
    """Reads parts and compares their checksums (scanner.cluster.Work)."""

    store: Store

    def __call__(self) -> "CheckWork":
        return self

    def prepare(self, batch: PartBatch) -> dict[str, str]:
        """Return why parts are damaged, by path."""
        problems = _in_threads(CHECKERS, self._problem, batch.parts)
        found = zip(batch.parts, problems, strict=True)
        return {part.path: why for part, why in found if why}

    def compute(self, prepared: dict[str, str]) -> dict[str, str]:
        return prepared

    def finish(self, computed: dict[str, str]) -> Result:
        return Result([], {"damaged": computed})

    def _problem(self, part: Part) -> str:
        try:
            read_part(self.store, part)
        except DamagedPart as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class Removal:
    """Parts of a merged group that no reader needs; picklable and small. ``id``: the group's."""

    id: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class RemoveWork:
    """Removes parts that were merged (scanner.cluster.Work)."""

    store: Store

    def __call__(self) -> "RemoveWork":
        return self

    def prepare(self, item: Removal) -> Removal:
        return item

    def compute(self, prepared: Removal) -> Removal:
        return prepared

    def finish(self, computed: Removal) -> Result:
        _in_threads(READERS, self._remove, computed.paths)
        return Result([])

    def _remove(self, path: str) -> None:
        self.store.remove(path, missing_ok=True)  # another driver was faster


def _in_threads(
    number: int, call: Callable[[ItemT], ValueT], items: Sequence[ItemT]
) -> list[ValueT]:
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(call, items))
