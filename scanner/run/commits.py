"""The commit protocol over one family of slices: parts first, then the commit that names them."""

import re
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.run.records import LARGEST_BYTES, RESCAN, Commit, DamagedFile, Part, commit_name
from scanner.run.schema import write_part
from scanner.storage import Store

READERS = 16
_COMMIT = re.compile(r"([A-Za-z0-9_-]+)\.(\d{1,9})\.json")


@dataclass(frozen=True)
class Output:
    """A table that a slice's work returns: one part in the folder ``kind`` of the run.

    ``row_group``: rows per row group of the part, by default those of pyarrow. A subclass may write
    another format than Parquet.
    """

    kind: str
    table: pa.Table
    row_group: int | None = None

    def write(self, store: Store, name: str) -> Part:
        """Write the part under a unique name, without an ending, and describe it."""
        return write_part(store, self.kind, name, self.table, self.row_group)


@dataclass(frozen=True)
class Commits:
    """The commits in one folder of a store. The first commit of a slice's generation is valid.

    ``fingerprint`` names what the slices' results depend on; every commit carries it. ``remedy``:
    what to do about a damaged commit, for errors.
    """

    store: Store
    folder: str = "commits"
    fingerprint: str = ""
    remedy: str = RESCAN

    def done(self) -> dict[str, int]:
        """Return the highest committed generation of each slice, from one listing."""
        done: dict[str, int] = {}
        for name in self.store.names(self.folder):
            if match := _COMMIT.fullmatch(name.rsplit("/", 1)[1]):
                slice_id, generation = match.groups()
                done[slice_id] = max(done.get(slice_id, 0), int(generation))
        return done

    def all(self) -> list[Commit]:
        """Return the valid commit of every committed slice, in the order of the slices.

        Raises DamagedFile.
        """
        return self._valid(self.done())

    def of(self, ids: Iterable[str]) -> list[Commit]:
        """Return the valid commits of these slices, all of which must be committed."""
        done = self.done()
        return self._valid({slice_id: done[slice_id] for slice_id in ids})

    def load(self, wanted: dict[str, int]) -> dict[str, Commit | DamagedFile]:
        """Read commits (slice id → generation) by slice id, in the order of the slices; for a
        damaged commit, return its error."""

        def load_one(item: tuple[str, int]) -> Commit | DamagedFile:
            try:
                return self._read(*item)
            except DamagedFile as error:
                return error

        items = sorted(wanted.items())
        with ThreadPoolExecutor(READERS) as threads:
            commits = threads.map(load_one, items)
            return {item[0]: commit for item, commit in zip(items, commits, strict=True)}

    def get(self, slice_id: str, generation: int = 0) -> Commit | None:
        """Return the commit of a slice's generation, or None."""
        if not self.store.exists(self._name(slice_id, generation)):
            return None
        return self._read(slice_id, generation)

    def commit(
        self,
        slice_id: str,
        outputs: Iterable[Output],
        generation: int = 0,
        seconds: float = 0.0,
        notes: dict[str, Any] | None = None,
    ) -> Commit:
        """Write a slice's tables as parts under unique names, then commit them.

        ``notes`` is read after the last output was consumed. Returns the valid commit, which is
        another writer's if that was first.
        """
        attempt = uuid.uuid4().hex
        parts = tuple(
            output.write(self.store, f"{slice_id}-{attempt[:12]}-{number:02d}")
            for number, output in enumerate(outputs)
            if output.table.num_rows
        )
        commit = Commit(
            slice_id, generation, attempt, self.fingerprint, parts, seconds, notes or {}
        )
        if self.store.create(self._name(slice_id, generation), commit.to_json()):
            return commit
        return self._read(slice_id, generation)

    def _valid(self, wanted: dict[str, int]) -> list[Commit]:
        commits = self.load(wanted).values()
        for commit in commits:
            if isinstance(commit, DamagedFile):
                raise commit
        return [commit for commit in commits if isinstance(commit, Commit)]

    def _name(self, slice_id: str, generation: int) -> str:
        return commit_name(self.folder, slice_id, generation)

    def _read(self, slice_id: str, generation: int) -> Commit:
        name = self._name(slice_id, generation)
        return Commit.from_json(
            self.store.location(name), self.store.read(name, LARGEST_BYTES), self.remedy
        )
