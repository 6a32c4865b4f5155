"""Read the columns of parquet, csv, tsv and jsonl files in bounded batches, bad rows apart.

Rows are counted from 0 in the order of the file, bad ones included, so that (source, row) names
a row for good.
"""

import csv
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.errors import UserError
from scanner.storage import open_input

BATCH_ROWS = 8192
_TEXT_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
ENDINGS = (".parquet", *_TEXT_ENDINGS, *(ending + ".gz" for ending in _TEXT_ENDINGS))
FIRST_LINES = 1000
# An unclosed quote swallows what follows; a caption of a mebibyte is none.
csv.field_size_limit(1 << 20)
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    RecursionError,
    zlib.error,
    csv.Error,
    pa.ArrowException,
)


@dataclass(frozen=True)
class Batch:
    """Rows of one file: their numbers, the columns asked for as text or as stored, and bad rows."""

    rows: list[int]
    columns: dict[str, list]
    bad: list[tuple[int, str]]


class UnreadableFile(Exception):
    """The rest of a file cannot be read; the message says why."""


def column_names(url: str) -> list[str]:
    """The columns of a file, without reading its rows. Raises UserError if it cannot be read."""
    try:
        return _format(url).columns(url)
    except _DAMAGE as error:
        raise UserError(f"{url}: cannot be read: {_brief(error)}") from error


def read(url: str, columns: list[str]) -> Iterator[Batch]:
    """The named columns of a file. Raises UnreadableFile, after what could be read, if damaged."""
    try:
        yield from _format(url).batches(url, columns)
    except _DAMAGE as error:
        raise UnreadableFile(_brief(error)) from error


@dataclass(frozen=True)
class _Format:
    columns: Callable[[str], list[str]]
    batches: Callable[[str, list[str]], Iterator[Batch]]


def _format(url: str) -> _Format:
    name = url.lower().removesuffix(".gz")
    for ending, form in _FORMATS.items():
        if name.endswith(ending):
            return form
    raise UserError(f"{url}: not a format that can be read; the name must end in {ENDINGS}")


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}"


def _parquet_columns(url: str) -> list[str]:
    with open_input(url) as file:
        return list(pq.read_schema(file).names)


def _parquet_batches(url: str, columns: list[str]) -> Iterator[Batch]:
    with open_input(url) as file:
        parquet = pq.ParquetFile(file)
        missing = [name for name in columns if name not in parquet.schema_arrow.names]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        start = 0
        for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
            # A name can stand twice in a file; the first one counts.
            places = {name: batch.schema.get_all_field_indices(name)[0] for name in columns}
            values = {name: batch.column(place).to_pylist() for name, place in places.items()}
            yield Batch(list(range(start, start + len(batch))), values, [])
            start += len(batch)


def _text(url: str) -> io.TextIOWrapper:
    raw = open_input(url, compression="infer")
    # Bytes that are no UTF-8 become surrogates, by which planning rejects the row.
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _csv(url: str, file: io.TextIOWrapper) -> Iterator[list[str] | str]:
    """The lines of a file that are not empty, as fields, or why one is bad.

    Quotes are taken strictly: an unclosed one makes a bad row that names the lines it took along,
    and a file that ends inside one is damaged.
    """
    tab = url.lower().removesuffix(".gz").endswith(".tsv")
    reader = csv.reader(file, delimiter="\t" if tab else ",", strict=True)
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


def _csv_columns(url: str) -> list[str]:
    with _text(url) as file:
        first = next(_csv(url, file), [])
        if isinstance(first, str):
            raise ValueError(first)
        return first


def _csv_batches(url: str, columns: list[str]) -> Iterator[Batch]:
    with _text(url) as file:
        lines = _csv(url, file)
        header = next(lines, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        places = [(name, header.index(name)) for name in columns]

        def take(line: list[str] | str) -> dict[str, str] | str:
            if isinstance(line, str):
                return line
            if len(line) != len(header):
                return f"bad row: {len(line)} fields where the header has {len(header)}"
            return {name: line[place] for name, place in places}

        yield from _collect(map(take, lines), columns)


def _jsonl_columns(url: str) -> list[str]:
    """The names of the first object; bad lines before it are rows' business, not the file's."""
    with _text(url) as file:
        for line in itertools.islice(file, FIRST_LINES):
            row = _json_row(line) if line.strip() else ""
            if isinstance(row, dict):
                return list(row)
    raise ValueError(f"no JSON object in the first {FIRST_LINES} lines")


def _json_row(line: str) -> dict | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "bad row: not JSON"
    return row if isinstance(row, dict) else "bad row: not a JSON object"


def _jsonl_batches(url: str, columns: list[str]) -> Iterator[Batch]:
    with _text(url) as file:
        yield from _collect((_json_row(line) for line in file if line.strip()), columns)


def _collect(rows: Iterator[dict | str], columns: list[str]) -> Iterator[Batch]:
    """Gather rows (a dict, or why it is bad) into batches."""
    batch = Batch([], {name: [] for name in columns}, [])
    for number, row in enumerate(rows):
        if isinstance(row, str):
            batch.bad.append((number, row))
        else:
            batch.rows.append(number)
            for name in columns:
                batch.columns[name].append(row.get(name))
        if len(batch.rows) + len(batch.bad) >= BATCH_ROWS:
            yield batch
            batch = Batch([], {name: [] for name in columns}, [])
    if batch.rows or batch.bad:
        yield batch


_FORMATS = {
    ".parquet": _Format(_parquet_columns, _parquet_batches),
    ".csv": _Format(_csv_columns, _csv_batches),
    ".tsv": _Format(_csv_columns, _csv_batches),
    ".jsonl": _Format(_jsonl_columns, _jsonl_batches),
    ".ndjson": _Format(_jsonl_columns, _jsonl_batches),
}
