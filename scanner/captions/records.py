"""Parse records of csv and tsv text so that a stray quote costs only its own row.

Three quoting modes, chosen per file before it is read:

- ``standard``: a quote at the start of a field opens it (RFC 4180). If it is never closed, or
closed in another row, only its line becomes a bad row and reading resumes with the next line. -
``needed``: quotes count only around a field that needs them (one with a tab, a line break or a
doubled quote); others are plain characters. Used for tsv, whether or not the writer quoted it. -
``none``: quotes are plain characters.
"""

import csv
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from scanner.captions.bounded_lines import LongLine
from scanner.captions.limits import LINE_CHARACTERS
from scanner.storage import bare_name

Quoting: TypeAlias = Literal["standard", "needed", "none"]
QuotingOption: TypeAlias = Literal["auto", "standard", "none"]
# A record's fields, or the reason why it is bad, and its lines as in the file.
Record: TypeAlias = tuple[list[str] | str, list[str]]

UNCLOSED = "unclosed quote"
SAMPLE_CHARACTERS = 1 << 20
# How far an open quote is followed across lines. Reduced to LEAST_CHARACTERS after too many failed
# attempts (IN_VAIN times the characters read), since every line of a hostile file can open a quote.
RECORD_CHARACTERS = 4 << 20
LEAST_CHARACTERS = 1 << 10
IN_VAIN = 8
MOST = 0.9
ROW_LIKE_LINES = 5
# RECORD_CHARACTERS bounds an unclosed quote; value sizes are checked with their columns.
csv.field_size_limit(LINE_CHARACTERS)


def delimiter_of(url: str, head: str) -> str:
    """Return the field delimiter: tab for .tsv, else comma, or semicolon if the first line has
    no comma."""
    if is_tsv(url):
        return "\t"
    return ";" if ";" in head and "," not in head else ","


def is_tsv(url: str) -> bool:
    return bare_name(url).removesuffix(".gz").removesuffix(".zst").endswith(".tsv")


def quoting_of(url: str, text: Iterable[str], option: QuotingOption) -> Quoting:
    """Return the quoting mode of a file, detected from its first lines if ``option`` is auto.

    A csv is read as standard, and so is a tsv with a column that is quoted throughout: there,
    quotes are not part of the value even where it does not need them.
    """
    if option != "auto":
        return option
    if not is_tsv(url):
        return "standard"
    filled: dict[int, int] = {}
    quoted: dict[int, int] = {}
    for fields, lines in itertools.islice(records(url, text, "standard"), 1, None):
        values = _split(lines[0], "\t")
        if isinstance(fields, str) or len(values) != len(fields):
            continue  # a field that needs its quotes says nothing about the others
        for place, value in enumerate(values):
            filled[place] = filled.get(place, 0) + bool(value)
            both = len(value) > 1 and value[0] == value[-1] == '"'
            quoted[place] = quoted.get(place, 0) + both
    throughout = any(n and quoted[place] >= MOST * n for place, n in filled.items())
    return "standard" if throughout else "needed"


def records(url: str, text: Iterable[str], quoting: Quoting) -> Iterator[Record]:
    """Yield the records of a file, header first; a record without fields is a blank line."""
    source = iter(text)
    head = next(source, "")
    delimiter = delimiter_of(url, head)
    reader = _Lines(itertools.chain([head] if head else [], source), head)
    if quoting == "none":
        yield from _plain(reader, delimiter)
    else:
        yield from _quoted(reader, delimiter, quoting == "needed")


class _Lines:
    """Line source for a csv reader that can push lines back since the last ``begin``."""

    def __init__(self, source: Iterator[str], head: str) -> None:
        self._source = source
        self._head = head
        self._pending: deque[str] = deque()
        self._characters = 0
        self._read = 0
        self._in_vain = 0
        self.taken: list[str] = []

    def begin(self) -> None:
        self._read += self._characters
        self._characters = 0
        self.taken = []

    def put_back(self) -> None:
        """Push back all lines taken except the first."""
        self._pending.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]
        first = sum(map(len, self.taken))
        self._in_vain += self._characters - first
        self._characters = first

    def _most(self) -> int:
        allowed = RECORD_CHARACTERS + IN_VAIN * self._read
        return RECORD_CHARACTERS if self._in_vain <= allowed else LEAST_CHARACTERS

    def __iter__(self) -> Iterator[str]:
        while True:
            line = self._pending.popleft() if self._pending else next(self._source, None)
            if line is None:
                return
            self.taken.append(line)
            self._characters += len(line)
            if len(self.taken) > 1 and (self._characters > self._most() or _is_long(line)):
                raise csv.Error("a record with too many characters")
            if _is_long(line):
                raise csv.Error(line)
            yield line.removeprefix("\ufeff") if line is self._head else line


def _is_long(line: str) -> bool:
    return isinstance(line, LongLine)


def _plain(lines: _Lines, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    while True:
        lines.begin()
        try:
            fields: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields = f"bad row: {error}"
            reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
        yield fields, lines.taken


def _quoted(lines: _Lines, delimiter: str, needed: bool) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number, columns = 1, 0
    while True:
        lines.begin()
        fields: list[str] | str
        try:
            fields = next(reader)
            if _swallows_rows(fields, lines.taken, delimiter, columns):
                fields = UNCLOSED
        except StopIteration:
            return
        except csv.Error as error:
            many = len(lines.taken) > 1 or "end of data" in str(error)
            fields = UNCLOSED if many else str(error)
        if isinstance(fields, str):
            lines.put_back()
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
        taken = lines.taken
        if needed and columns and len(taken) == 1 and '"' in taken[0]:
            fields = _as_needed(fields, _split(taken[0], delimiter), columns)
        if isinstance(fields, str):
            fields = f"bad row: {fields} (line {number})"
        columns = columns or (0 if isinstance(fields, str) else len(fields))
        yield fields, taken
        number += len(taken)


def _swallows_rows(fields: list[str], lines: list[str], delimiter: str, columns: int) -> bool:
    """Return whether a stray quote merged several rows into a record: each line has a row's
    delimiters. Commas are common in captions, so csv requires more lines."""
    if not columns or len(lines) == 1:
        return False
    if len(fields) != columns:
        return True
    if columns == 1 or (delimiter != "\t" and len(lines) < ROW_LIKE_LINES):
        return False
    alike = sum(line.count(delimiter) == columns - 1 for line in lines)
    return alike >= MOST * len(lines)


def _as_needed(fields: list[str] | str, plain: list[str], columns: int) -> list[str]:
    """Return a line's fields, unquoting only those that need quotes."""
    if isinstance(fields, str) or (len(fields) != columns and len(plain) == columns):
        return plain
    if len(fields) != len(plain):
        return fields  # a delimiter inside quotes
    return [value if '""' in raw else raw for value, raw in zip(fields, plain, strict=True)]


def _split(line: str, delimiter: str) -> list[str]:
    plain = line.rstrip("\r\n")
    return plain.split(delimiter) if plain else []


def sampled(text: Iterable[str]) -> Iterator[str]:
    """Yield the lines of the first MiB."""
    characters = 0
    for line in text:
        if characters + len(line) > SAMPLE_CHARACTERS and characters:
            return
        characters += len(line)
        yield line
