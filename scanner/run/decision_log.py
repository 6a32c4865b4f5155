"""The log of decisions beside a run: append-only, ordered, safe for several writers.

``decisions/log/N.json`` is created only if absent, so each number belongs to one writer, and the
numbers order all decisions. Full blocks of entries are merged into one Parquet part, which a commit
makes visible; only then are the block's entries removed. A writer that creates an entry in a block
that was merged meanwhile finds the commit and appends it again under a new number.
"""

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from scanner.errors import UserError
from scanner.run.commits import Commits, Output
from scanner.run.decisions import DECISIONS, LARGEST_ENTRY, REMEDY, Entry
from scanner.run.part_tables import read_part_table
from scanner.run.results import DamagedPart
from scanner.storage import Store

FOLDER = "decisions"
_LOG = f"{FOLDER}/log"
# Entries that are merged into one part.
BLOCK = 200
READERS = 16
DIGITS = 12
BLOCK_DIGITS = 8


@dataclass(frozen=True)
class _Listing:
    """The entries and the merged blocks that exist; ``next``: the first free number."""

    entries: frozenset[int]
    merged: dict[int, int]

    @property
    def next(self) -> int:
        ends = [(block + 1) * BLOCK for block in self.merged]
        return 1 + max([*self.entries, *ends], default=0)

    def loose(self) -> list[int]:
        """Return the entries that are not merged, in order."""
        return sorted(number for number in self.entries if _block(number) not in self.merged)

    def full(self) -> list[int]:
        """Return the blocks that can be merged, in order."""
        blocks = {_block(number) for number in self.loose()}
        return sorted(block for block in blocks if self.entries.issuperset(_numbers(block)))


@dataclass
class DecisionLog:
    """The decisions in the folder ``decisions`` of a run.

    Reads only what is new since the last :meth:`read`. Not safe for several threads.
    """

    store: Store
    _tables: dict[int, pa.Table] = field(default_factory=dict)
    _parts: dict[int, pa.Table] = field(default_factory=dict)

    def append(self, entry: Entry) -> int:
        """Store an entry; return its number. It is durable, and ordered after all earlier ones."""
        data = entry.to_json()
        number = self._list().next
        if number >= 10**DIGITS:
            raise UserError(
                f"{self.store.location(FOLDER)}: no number is left after {number - 1}, which no "
                "decision has; remove the entry or commit of this number"
            )
        while not self._create(number, data):
            number = max(number + 1, self._list().next)
        if number % BLOCK == 0:
            self.compact()
        return number

    def _create(self, number: int, data: bytes) -> bool:
        """Create an entry. Returns False if the number is another's, or was before its block was
        merged."""
        if not self.store.create(_name(number), data):
            return False
        if _slice(_block(number)) not in self._commits.done():
            return True
        self._remove(number)
        return False

    def _remove(self, number: int) -> None:
        self.store.remove(_name(number), missing_ok=True)  # another writer was faster

    def read(self) -> pa.Table:
        """Return all decisions, in order. Raises UserError if a file is damaged."""
        while True:
            listing = self._list()
            try:
                self._read_new(listing)
            except FileNotFoundError:
                continue  # merged meanwhile
            tables = [self._parts[block] for block in sorted(listing.merged)]
            tables += [self._tables[number] for number in listing.loose()]
            return pa.concat_tables([DECISIONS.empty_table(), *tables])

    def unmerged(self) -> Iterator[tuple[str, Entry]]:
        """Yield the file names and contents of the entries that are in no merged block, in order.

        Raises DamagedFile.
        """
        for number in self._list().loose():
            yield _name(number), self._read(number)

    def compact(self) -> None:
        """Merge full blocks of entries; any writer may, at any time."""
        for block in self._list().full():
            with contextlib.suppress(FileNotFoundError):  # another writer was faster
                tables = [self._read(number).table(number) for number in _numbers(block)]
                parts = [Output(f"{FOLDER}/parts", pa.concat_tables(tables))]
                self._commits.commit(_slice(block), parts)
        listing = self._list()
        for number in listing.entries:
            if _block(number) in listing.merged:
                self._remove(number)

    @property
    def _commits(self) -> Commits:
        return Commits(self.store, f"{FOLDER}/commits", remedy=REMEDY)

    def _list(self) -> _Listing:
        # The log first: an entry that is merged in between is then in the commits.
        numbers = map(_number, self.store.names(_LOG))
        entries = frozenset(number for number in numbers if number)
        merged = {
            int(name): generation
            for name, generation in self._commits.done().items()
            if len(name) == BLOCK_DIGITS and name.isdecimal()
        }
        return _Listing(entries, merged)

    def _read_new(self, listing: _Listing) -> None:
        new = [block for block in listing.merged if block not in self._parts]
        for block, commit in zip(new, self._commits.of(map(_slice, new)), strict=True):
            try:
                tables = [read_part_table(self.store, part) for part in commit.parts]
            except DamagedPart as error:
                raise UserError(f"{self.store.url}: {error}; {REMEDY}") from error
            # No part is left of a block whose captions are all purged.
            known = [_conform(table) for table in tables]
            self._parts[block] = pa.concat_tables([DECISIONS.empty_table(), *known])
        numbers = [number for number in listing.loose() if number not in self._tables]
        with ThreadPoolExecutor(READERS) as threads:
            for number, entry in zip(numbers, threads.map(self._read, numbers), strict=True):
                self._tables[number] = entry.table(number)
        for number in [number for number in self._tables if _block(number) in listing.merged]:
            del self._tables[number]

    def _read(self, number: int) -> Entry:
        name = _name(number)
        data = self.store.read(name, LARGEST_ENTRY)
        return Entry.from_json(self.store.location(name), data)


def read_decisions(store: Store) -> pa.Table:
    """Return all decisions about a run, in order; empty if there are none.

    Raises UserError if a file is damaged.
    """
    return DecisionLog(store).read()


def _conform(table: pa.Table) -> pa.Table:
    """Return a part's table with this release's columns, null where it has none."""
    rows = len(table)
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(rows, field.type)
        for field in DECISIONS
    ]
    return pa.table(columns, schema=DECISIONS)


def _block(number: int) -> int:
    return (number - 1) // BLOCK


def _numbers(block: int) -> Iterable[int]:
    return range(block * BLOCK + 1, (block + 1) * BLOCK + 1)


def _slice(block: int) -> str:
    return f"{block:0{BLOCK_DIGITS}d}"


def _name(number: int) -> str:
    return f"{_LOG}/{number:0{DIGITS}d}.json"


def _number(name: str) -> int:
    """Return an entry's number, 0 for any other file."""
    stem = name.rpartition("/")[2].removesuffix(".json")
    return int(stem) if len(stem) == DIGITS and stem.isdecimal() and stem.isascii() else 0
