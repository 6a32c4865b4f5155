"""Batches of rows, the common output of all file formats."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import pyarrow as pa

from scanner.captions.limits import BATCH_BYTES, CAPTION_BYTES, OBJECT_FACTOR, OVER, is_over
from scanner.captions.records import Quoting

BATCH_ROWS = 8192
# Arrow arrays from Arrow-based formats, otherwise Python values as parsed.
Values: TypeAlias = pa.Array | list


@dataclass(frozen=True)
class Contents:
    """A file's columns and, for parquet, the rows of each row group.

    ``is_open``: later rows may have other columns; ``is_whole``: all rows were inspected. A file
    without columns that is not open has no rows. ``quoting``: how quotes of a csv or tsv are read.
    ``fallback``: the column to read the caption from where the caption column is null.
    """

    columns: list[str]
    row_groups: tuple[int, ...] = ()
    is_open: bool = False
    is_whole: bool = False
    quoting: Quoting | None = None
    fallback: str | None = None


@dataclass(frozen=True)
class Extent:
    """Row groups ``first`` to ``end`` (exclusive) of a parquet file, beginning at row ``row``."""

    first: int
    end: int
    row: int


@dataclass(frozen=True)
class Batch:
    """Rows of one file: row numbers, requested columns, and bad rows with the reason.

    ``notes``: messages about the file for the user, with their counts. ``over``: for rows (by index
    in the batch) with a value that exceeds a limit, its column and the limit; the value is null.
    """

    rows: Sequence[int]
    columns: dict[str, Values]
    bad: list[tuple[int, str]]
    notes: dict[str, int] = field(default_factory=dict)
    over: dict[int, tuple[str, str]] = field(default_factory=dict)

    def is_all_null(self, name: str) -> bool:
        """Return whether a column has only nulls."""
        values = self.columns[name]
        if isinstance(values, pa.Array):
            return values.null_count == len(values)
        return all(value is None for value in values)

    def halves(self) -> "tuple[Batch, Batch]":
        """Split the rows into two batches; bad rows and notes stay with the first."""
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
    """Raise ValueError if a wanted column is missing."""
    missing = [name for name in wanted if name not in have]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")


def collect(
    rows: Iterator[dict | str],
    columns: list[str],
    notes: Counter[str] | None = None,
    batch_rows: int | None = None,
) -> Iterator[Batch]:
    """Collect rows (a dict, or the reason why a row is bad) into batches, numbered from 0.

    Yields the rows before an error before raising it. ``notes``: counts updated by the producer of
    the rows; each batch takes and clears them. ``batch_rows``: the maximum, by default BATCH_ROWS.
    """
    counts = Counter[str]() if notes is None else notes
    most_rows = batch_rows or BATCH_ROWS
    builder = _BatchBuilder(columns)
    try:
        for number, row in enumerate(rows):
            builder.add(number, row)
            if builder.rows >= most_rows or builder.bytes >= BATCH_BYTES:
                yield builder.build(counts)
                builder = _BatchBuilder(columns)
    except Exception:
        if builder.rows:
            yield builder.build(counts)
        raise
    if builder.rows or +counts:
        yield builder.build(counts)


class _BatchBuilder:
    """Accumulates the rows of a batch."""

    def __init__(self, columns: list[str]) -> None:
        self._batch = Batch([], {name: [] for name in columns}, [])
        self._numbers: list[int] = []
        self.bytes = 0

    @property
    def rows(self) -> int:
        return len(self._numbers) + len(self._batch.bad)

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
                self.bytes += size * (OBJECT_FACTOR if isinstance(value, list | dict) else 1)
            assert isinstance(values, list)
            values.append(value)
        self._numbers.append(number)

    def build(self, notes: Counter[str]) -> Batch:
        """Return the batch with the notes, and clear them."""
        batch = replace(self._batch, rows=self._numbers, notes=dict(+notes))
        notes.clear()
        return batch


def _size(value: Any) -> int:
    """Return the size of a value as text in bytes, exact near the limit."""
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return 0
    return CAPTION_BYTES + 1 if is_over(value) else len(value)
