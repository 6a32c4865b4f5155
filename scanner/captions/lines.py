"""Read rows of csv, tsv and jsonl files."""

import io
import itertools
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from scanner.captions.batch import Batch, Contents, Extent, check_columns, collect
from scanner.captions.bounded_lines import LongLine, bounded_lines
from scanner.captions.limits import (
    CAPTION_BYTES,
    JSON_DEPTH,
    JSON_PARTS,
    NAME_CHARACTERS,
    NAMES,
)
from scanner.captions.records import (
    UNCLOSED,
    Quoting,
    QuotingOption,
    Record,
    is_tsv,
    quoting_of,
    records,
    sampled,
)
from scanner.errors import UserError
from scanner.storage import is_transient, open_input

FIRST_ROWS = 1000
LONG_LINES = 10
_NONE = "if quotes are plain characters, pass --quoting none"
UNCLOSED_ROWS = f"rows rejected for an unclosed quote; {_NONE}"
LONG_ROWS = f"rows contain more than {LONG_LINES} lines between quotes; {_NONE}"


def check_encoding(url: str, line: str) -> None:
    """Raise UserError if a file with this first line is UTF-16 text."""
    if line.startswith(("\udcff\udcfe", "\udcfe\udcff")) or 3 * line.count("\0") > len(line):
        raise UserError(
            f"{url}: it is UTF-16 text; save it as UTF-8 (in Excel: CSV UTF-8; on a command line: "
            "iconv -f UTF-16 -t UTF-8)"
        )


@contextmanager
def lines_of(url: str, newline: str = "") -> Iterator[Iterator[str]]:
    """Open a file's lines, each in bounded memory; ``newline`` as in :func:`open`."""
    raw = open_input(url, compression="infer")
    # Invalid UTF-8 becomes surrogates, for which planning rejects the row.
    text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline=newline)
    with text:
        yield bounded_lines(text, newline or "\r\n")


def csv_contents(url: str, quoting: QuotingOption = "auto") -> Contents:
    """Return the names in the first line, none for an empty file. Raises ValueError."""
    with lines_of(url) as file:
        first = next(file, "")
        check_encoding(url, first)
        file = itertools.chain([first] if first else [], file)
        lines = list(sampled(file)) if is_tsv(url) else file
        chosen = quoting_of(url, lines, quoting)
        header = next((fields for fields, _ in records(url, lines, chosen) if fields), [])
    if isinstance(header, str):
        raise ValueError(header)
    return Contents(header, quoting=chosen)


def csv_batches(
    url: str,
    columns: list[str],
    extent: Extent | None,
    batch_rows: int | None = None,
    quoting: Quoting | None = None,
) -> Iterator[Batch]:
    """Yield the rows below the header, skipping blank lines. ``quoting`` None: detect it."""
    with lines_of(url) as file:
        chosen = quoting or csv_contents(url).quoting or "standard"
        found = (record for record in records(url, file, chosen) if record[0])
        header, _ = next(found, ([], []))
        if isinstance(header, str):
            raise ValueError(header)
        if not header:
            return
        check_columns(header, columns)
        places = [(name, header.index(name)) for name in columns]
        notes: Counter[str] = Counter()

        def take(record: Record) -> dict[str, str] | str:
            line, lines = record
            if isinstance(line, str):
                notes[UNCLOSED_ROWS] += UNCLOSED in line
                return line
            if len(line) != len(header):
                return f"bad row: {len(line)} fields where the header has {len(header)}"
            notes[LONG_ROWS] += len(lines) > LONG_LINES
            return {name: line[place] for name, place in places}

        yield from collect(map(take, found), columns, notes, batch_rows)


def jsonl_contents(url: str) -> Contents:
    """Return all names in the first objects, in order: a writer may omit names without a value.

    Bad lines are rejected as rows and do not fail the file.
    """
    with lines_of(url) as file:
        first = next(file, "")
        check_encoding(url, first)
        lines = itertools.chain([first], file)
        objects = (json_row(line) for line in lines if line.strip())
        found = first_names(objects)
    return Contents(found.names, is_open=found.any_rows, is_whole=found.is_whole)


class FirstNames(NamedTuple):
    """Distinct ``names`` in the first rows of a file; whether it has ``any_rows``; ``is_whole``:
    whether all of its rows were inspected."""

    names: list[str]
    any_rows: bool
    is_whole: bool


def first_names(
    rows: Iterator[dict | str], enough: Callable[[], bool] = lambda: False
) -> FirstNames:
    """Return the names in the first rows, within limits.

    Reads until ``enough`` returns True and there are names, or until a damaged file ends, which is
    an error only if there are no names.
    """
    names: dict[str, None] = {}
    characters, count, is_whole = 0, 0, False
    try:
        for count, row in enumerate(rows, 1):
            if count > FIRST_ROWS:
                break
            new = [name for name in row if name not in names] if isinstance(row, dict) else []
            characters += sum(map(len, new))
            if len(names) + len(new) > NAMES or characters > NAME_CHARACTERS:
                break
            names |= dict.fromkeys(new)
            if enough() and names:
                break
        else:
            is_whole = True
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        # Reading the file's rows will report the damage.
        if is_transient(error) or not names:
            raise
    return FirstNames(list(names), count > 0, is_whole)


def json_row(text: str) -> dict | str:
    """Return the JSON object in a text, or the reason why it is a bad row."""
    if isinstance(text, LongLine):
        return f"bad row: {text}"
    nested = text.count("[") + text.count("{")
    parts = nested + (text.count('"') - text.count('\\"')) // 2
    if len(text) > CAPTION_BYTES and parts > JSON_PARTS:
        return f"bad row: JSON of more than {JSON_PARTS} parts"
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return "bad row: not JSON"
    if nested > JSON_DEPTH and _is_deep(row):
        return f"bad row: JSON nested more than {JSON_DEPTH} deep"
    return row if isinstance(row, dict) else "bad row: not a JSON object"


def _is_deep(value: Any) -> bool:
    """Return whether lists and objects are nested more than JSON_DEPTH deep."""
    level = [value]
    for _ in range(JSON_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for many in inner for one in many if isinstance(one, dict | list)]
    return bool(level)


def jsonl_batches(
    url: str, columns: list[str], extent: Extent | None, batch_rows: int | None = None
) -> Iterator[Batch]:
    with lines_of(url) as file:
        rows = (json_row(line) for line in file if line.strip())
        yield from collect(rows, columns, batch_rows=batch_rows)
