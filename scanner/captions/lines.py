"""Rows of csv, tsv and jsonl files, one a line."""

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator

from scanner.captions.batch import Batch, Contents, Extent, check_columns, collect
from scanner.storage import open_input

FIRST_LINES = 1000
# An unclosed quote swallows what follows; a caption of a mebibyte is none.
csv.field_size_limit(1 << 20)


def _text(url: str) -> io.TextIOWrapper:
    raw = open_input(url, compression="infer")
    # Bytes that are no UTF-8 become surrogates, by which planning rejects the row.
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def stored_bytes(url: str) -> int:
    """The size of a file as it is stored."""
    with open_input(url) as file:
        return file.seek(0, 2)


def csv_records(url: str, text: Iterable[str]) -> Iterator[list[str] | str]:
    """The lines of a file that are not empty, as fields, or why one is bad; the header first.

    A .tsv has tabs between them, any other file commas, or semicolons where its first line has
    those alone.
    Quotes are taken strictly: an unclosed one makes a bad row that names the lines it took along,
    and a file that ends inside one is damaged.
    """
    tab = url.lower().removesuffix(".gz").endswith(".tsv")
    lines = iter(text)
    head = next(lines, "")
    semicolons = ";" in head and "," not in head
    delimiter = "\t" if tab else ";" if semicolons else ","
    reader = csv.reader(itertools.chain([head], lines), delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            line = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise ValueError(f"a quote opened in line {first} is never closed") from error
            yield f"bad row: {error} (lines {first} to {reader.line_num})"
            continue
        if tab and any("\t" in field and "\n" in field for field in line):
            yield f"bad row: an unclosed quote (lines {first} to {reader.line_num})"
        elif line:
            yield line


def csv_contents(url: str) -> Contents:
    with _text(url) as file:
        first = next(csv_records(url, file), [])
        if isinstance(first, str):
            raise ValueError(first)
        return Contents(first, stored_bytes(url))


def csv_batches(url: str, columns: list[str], extent: Extent | None) -> Iterator[Batch]:
    with _text(url) as file:
        lines = csv_records(url, file)
        header = next(lines, [])
        check_columns(header, columns)
        places = [(name, header.index(name)) for name in columns]

        def take(line: list[str] | str) -> dict[str, str] | str:
            if isinstance(line, str):
                return line
            if len(line) != len(header):
                return f"bad row: {len(line)} fields where the header has {len(header)}"
            return {name: line[place] for name, place in places}

        yield from collect(map(take, lines), columns)


def jsonl_contents(url: str) -> Contents:
    """The names of the first object; bad lines before it are rows' business, not the file's."""
    with _text(url) as file:
        for line in itertools.islice(file, FIRST_LINES):
            row = json_row(line) if line.strip() else ""
            if isinstance(row, dict):
                return Contents(list(row), stored_bytes(url))
    raise ValueError(f"no JSON object in the first {FIRST_LINES} lines")


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
