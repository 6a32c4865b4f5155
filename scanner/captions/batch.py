"""Rows of a file on their way in: what every format gives."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import pyarrow as pa

from scanner.captions.limits import BATCH_BYTES, CAPTION_BYTES, OBJECT_FACTOR, OVER, is_over
from scanner.captions.records import Quoting

BATCH_ROWS = 8192
# Arrow where the file stores it so, else the values as they were written.
Values: TypeAlias = pa.Array | list


@dataclass(frozen=True)
class Contents:
    """A file without its rows: its columns and, of parquet, its row groups' rows.

    ``is_open``: a row may have other columns; of a file that ``is_whole`` all rows were looked at.
    A file that has no columns and is not open has no rows. ``quoting``: how the quotes of a csv or
    tsv are read. ``fallback``: the column that holds the caption of a row whose caption column is
    null.
    """

    columns: list[str]
    row_groups: tuple[int, ...] = ()
    is_open: bool = False
    is_whole: bool = False
    quoting: Quoting | None = None
    fallback: str | None = None


@dataclass(frozen=True)
class Extent:
    """The row groups of a parquet file from ``first`` up to, not with, ``end``; ``row`` is the
    number of their first row in the file."""

    first: int
    end: int
    row: int


@dataclass(frozen=True)
class Batch:
    """Rows of one file: their numbers, the columns asked for, and bad rows with the reason.

    ``notes``: what a user should know of the file, with how often it was met. ``over``: by place
    among the rows, a column whose value exceeds a limit, and which; the value is null.
    """

    rows: Sequence[int]
    columns: dict[str, Values]
    bad: list[tuple[int, str]]
    notes: dict[str, int] = field(default_factory=dict)
    over: dict[int, tuple[str, str]] = field(default_factory=dict)

    def is_all_null(self, name: str) -> bool:
        """Return whether a column has no value."""
        values = self.columns[name]
        if isinstance(values, pa.Array):
            return values.null_count == len(values)
        return all(value is None for value in values)

    def halves(self) -> "tuple[Batch, Batch]":
        """Return the rows in two batches; what is not of single rows is in the first."""
        middle = len(self.rows) // 2
        first, second = (
            Batch(
                self.rows[part],
                {name: values[part] for name, values in self.columns.items()},
                [],
                over={at - start: why for at, why in self.over.items() if start <= at < end},
            )
            for start, end in ((0, middle), (middle, len(self.rows)))
            for part in [slice(start, end)]
        )
        return replace(first, bad=self.bad, notes=self.notes), second


def check_columns(have: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises ValueError where a wanted column is missing."""
    missing = [name for name in wanted if name not in have]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")


def collect(
    rows: Iterator[dict | str], columns: list[str], notes: Counter[str] | None = None
) -> Iterator[Batch]:
    """Gather rows (a dict, or why it is bad) into batches, counting them from 0.

    What was gathered before an error is given before it is raised. ``notes``: what whoever makes
    the rows counts meanwhile; each batch takes what is there.
    """
    noted = Counter[str]() if notes is None else notes
    held = _Held(columns)
    try:
        for number, row in enumerate(rows):
            held.add(number, row)
            if held.full:
                yield held.batch(noted)
                held = _Held(columns)
    except Exception:
        if held.any:
            yield held.batch(noted)
        raise
    if held.any or +noted:
        yield held.batch(noted)


class _Held:
    """Rows on their way into a batch."""

    def __init__(self, columns: list[str]) -> None:
        self._batch = Batch([], {name: [] for name in columns}, [])
        self._numbers: list[int] = []
        self._bytes = 0

    @property
    def any(self) -> bool:
        return bool(self._numbers or self._batch.bad)

    @property
    def full(self) -> bool:
        rows = len(self._numbers) + len(self._batch.bad)
        return rows >= BATCH_ROWS or self._bytes >= BATCH_BYTES

    def add(self, number: int, row: dict | str) -> None:
        if isinstance(row, str):
            self._batch.bad.append((number, row))
            return
        for name, values in self._batch.columns.items():
            value = row.get(name)
            size = _size(value)
            if size > CAPTION_BYTES:
                self._batch.over.setdefault(len(self._numbers), (name, OVER))
                value = None
            else:
                self._bytes += size * (OBJECT_FACTOR if isinstance(value, list | dict) else 1)
            assert isinstance(values, list)
            values.append(value)
        self._numbers.append(number)

    def batch(self, notes: Counter[str]) -> Batch:
        """Return the batch, with the notes, which are cleared."""
        batch = replace(self._batch, rows=self._numbers, notes=dict(+notes))
        notes.clear()
        return batch


def _size(value: Any) -> int:
    """Return the bytes of a value as text, exact where they may exceed a limit."""
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return 0
    return CAPTION_BYTES + 1 if is_over(value) else len(value)
