"""Rows of a file on their way in: what every format gives."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from scanner.captions.records import Quoting

BATCH_ROWS = 8192
# Arrow where the file stores it so, else the values as they were written.
Values: TypeAlias = pa.Array | list


@dataclass(frozen=True)
class Contents:
    """A file without its rows: its columns, its size, and, of parquet, its row groups' rows.

    ``is_open``: a row may have other columns; of a file that ``is_whole`` all rows were looked at.
    A file that has no columns and is not open has no rows. ``quoting``: how the quotes of a csv or
    tsv are read. ``fallback``: the column that holds the caption of a row whose caption column is
    null.
    """

    columns: list[str]
    bytes: int
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

    ``notes``: what a user should know of the file, with how often it was met.
    """

    rows: Sequence[int]
    columns: dict[str, Values]
    bad: list[tuple[int, str]]
    notes: dict[str, int] = field(default_factory=dict)


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
    numbers: list[int] = []
    values: dict[str, list] = {name: [] for name in columns}
    bad: list[tuple[int, str]] = []

    def gathered() -> Batch:
        nonlocal numbers, values, bad
        batch = Batch(numbers, values, bad, dict(+noted))
        noted.clear()
        numbers, values, bad = [], {name: [] for name in columns}, []
        return batch

    try:
        for number, row in enumerate(rows):
            if isinstance(row, str):
                bad.append((number, row))
            else:
                numbers.append(number)
                for name in columns:
                    values[name].append(row.get(name))
            if len(numbers) + len(bad) >= BATCH_ROWS:
                yield gathered()
    except Exception:
        if numbers or bad:
            yield gathered()
        raise
    if numbers or bad or +noted:
        yield gathered()
