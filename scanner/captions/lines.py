"""Rows of csv, tsv and jsonl files, one a line."""

import io
import itertools
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from scanner.captions.batch import Batch, Contents, Extent, check_columns, collect
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
from scanner.storage import is_transient, open_input

FIRST_ROWS = 1000
LONG_LINES = 10
_NONE = "where quotes are plain characters, give --quoting none"
UNCLOSED_ROWS = f"rows rejected since a quote opens in them and is not closed; {_NONE}"
LONG_ROWS = f"rows hold more than {LONG_LINES} lines between quotes; {_NONE}"


def _text(url: str) -> io.TextIOWrapper:
    raw = open_input(url, compression="infer")
    # Bytes that are no UTF-8 become surrogates, by which planning rejects the row.
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def stored_bytes(url: str) -> int:
    """The size of a file as it is stored."""
    with open_input(url) as file:
        return file.seek(0, 2)


def csv_contents(url: str, quoting: QuotingOption = "auto") -> Contents:
    """The names in the first line, none of a file without one. Raises ValueError."""
    with _text(url) as file:
        lines = list(sampled(file)) if is_tsv(url) else file
        chosen = quoting_of(url, lines, quoting)
        header = next((fields for fields, _ in records(url, lines, chosen) if fields), [])
    if isinstance(header, str):
        raise ValueError(header)
    return Contents(header, stored_bytes(url), quoting=chosen)


def csv_batches(
    url: str, columns: list[str], extent: Extent | None, quoting: Quoting | None = None
) -> Iterator[Batch]:
    """The rows below the header; blank lines are none. ``quoting`` None: from the file itself."""
    with _text(url) as file:
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

        yield from collect(map(take, found), columns, notes)


def jsonl_contents(url: str) -> Contents:
    """All names in the first objects, in the order in which they come: a writer may leave out a
    name where it has no value. Bad lines are rows' business, not the file's."""
    with _text(url) as file:
        objects = (json_row(line) for line in file if line.strip())
        rows = first_rows(itertools.islice(objects, FIRST_ROWS))
    is_whole = len(rows) < FIRST_ROWS
    return Contents(names_in(rows), stored_bytes(url), is_open=bool(rows), is_whole=is_whole)


def first_rows(
    rows: Iterator[dict | str], enough: Callable[[], bool] = lambda: False
) -> list[dict | str]:
    """Take rows until, with some names among them, they are enough; or as far as a damaged file
    gives them, which is an error only if there are no names."""
    found: list[dict | str] = []
    try:
        for row in rows:
            found.append(row)
            if enough() and names_in(found):
                break
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        # Reading the file's rows meets the damage again, and reports it.
        if is_transient(error) or not names_in(found):
            raise
    return found


def names_in(rows: Iterable[dict | str]) -> list[str]:
    """The names of all rows that are not bad, each once."""
    return list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))


def json_row(text: str) -> dict | str:
    """The object that a text spells in JSON, or why it is a bad row."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return "bad row: not JSON"
    return row if isinstance(row, dict) else "bad row: not a JSON object"


def jsonl_batches(url: str, columns: list[str], extent: Extent | None) -> Iterator[Batch]:
    with _text(url) as file:
        yield from collect((json_row(line) for line in file if line.strip()), columns)
