"""The commit protocol over one family of slices: parts first, then the commit that names them."""

import re
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.run.records import AGAIN, LARGEST_BYTES, Commit, DamagedFile, commit_name
from scanner.run.schema import write_part
from scanner.storage import Store

READERS = 16
_COMMIT = re.compile(r"([A-Za-z0-9_-]+)\.(\d{1,9})\.json")


@dataclass(frozen=True)
class Output:
    """A table that a slice's work made: one part in the folder ``kind`` of the run.

    ``row_group``: rows in a row group of the part, the writer's own by default.
    """

    kind: str
    table: pa.Table
    row_group: int | None = None


@dataclass(frozen=True)
class Commits:
    """The commits in one folder of a store. The first commit of a slice's generation holds.

    ``fingerprint`` names what the slices' results depend on; every commit carries it. ``mend``
    says what to do about a commit that is damaged.
    """

    store: Store
    folder: str = "commits"
    fingerprint: str = ""
    mend: str = AGAIN

    def done(self) -> dict[str, int]:
        """The highest committed generation of each slice, by one listing."""
        done: dict[str, int] = {}
        for name in self.store.names(self.folder):
            if found := _COMMIT.fullmatch(name.rsplit("/", 1)[1]):
                slice_id, generation = found.groups()
                done[slice_id] = max(done.get(slice_id, 0), int(generation))
        return done

    def all(self) -> list[Commit]:
        """The valid commit of every committed slice, in the order of the slices.

        Raises DamagedFile.
        """
        return self._valid(self.done())

    def of(self, ids: Iterable[str]) -> list[Commit]:
        """As :meth:`all`, of these slices, each of which must have one."""
        done = self.done()
        return self._valid({slice_id: done[slice_id] for slice_id in ids})

    def look(self, wanted: dict[str, int]) -> dict[str, Commit | DamagedFile]:
        """These commits (slice id → generation), by slice id, in the order of the slices; the error
        in the place of a commit that is damaged."""

        def one(item: tuple[str, int]) -> Commit | DamagedFile:
            try:
                return self._read(*item)
            except DamagedFile as error:
                return error

        items = sorted(wanted.items())
        with ThreadPoolExecutor(READERS) as threads:
            return {
                item[0]: commit for item, commit in zip(items, threads.map(one, items), strict=True)
            }

    def there(self, slice_id: str, generation: int = 0) -> Commit | None:
        """The commit of a slice's generation, or None."""
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

        ``notes`` is read after the last output was taken. Returns the commit that holds, which is
        another one's where that came first.
        """
        attempt = uuid.uuid4().hex
        parts = tuple(
            write_part(
                self.store,
                output.kind,
                f"{slice_id}-{attempt[:12]}-{number:02d}",
                output.table,
                output.row_group,
            )
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
        found = self.look(wanted).values()
        for commit in found:
            if isinstance(commit, DamagedFile):
                raise commit
        return [commit for commit in found if isinstance(commit, Commit)]

    def _name(self, slice_id: str, generation: int) -> str:
        return commit_name(self.folder, slice_id, generation)

    def _read(self, slice_id: str, generation: int) -> Commit:
        name = self._name(slice_id, generation)
        return Commit.from_json(
            self.store.location(name), self.store.read(name, LARGEST_BYTES), self.mend
        )
