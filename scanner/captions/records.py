"""Records of csv and tsv text: which quotes count, and what a stray one costs.

Three ways to read quotes, one per file, decided before it is read:

- ``standard``: a quote at the start of a field opens it (RFC 4180). A record that a quote never
  closes, or closes somewhere in another row, is one bad row of one line; reading resumes with the
  next line, so that a stray quote costs no other row.
- ``needed``: quotes count only around a field that needs them, that is one with a tab, a line
  break or a doubled quote in it; others are plain characters. A tsv is read so, whether or not a
  writer has quoted it.
- ``none``: quotes are plain characters.
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
# A record's fields, or why it is bad, and its lines as they stand in the file.
Record: TypeAlias = tuple[list[str] | str, list[str]]

UNCLOSED = "a quote opens in it and is not closed"
SAMPLE_CHARACTERS = 1 << 20
# How far a quote is followed over lines; less while more than so many times the characters read
# have been followed in vain, since every line of a hostile file can open one that never closes.
RECORD_CHARACTERS = 4 << 20
LEAST_CHARACTERS = 1 << 10
IN_VAIN = 8
MOST = 0.9
ROW_LIKE_LINES = 5
# A record bounds what an unclosed quote takes in; a value's size is judged with its column.
csv.field_size_limit(LINE_CHARACTERS)


def delimiter_of(url: str, head: str) -> str:
    """Return what stands between fields: tabs in a .tsv, else commas, or semicolons where the
    first line has only those."""
    if is_tsv(url):
        return "\t"
    return ";" if ";" in head and "," not in head else ","


def is_tsv(url: str) -> bool:
    return bare_name(url).removesuffix(".gz").removesuffix(".zst").endswith(".tsv")


def quoting_of(url: str, text: Iterable[str], option: QuotingOption) -> Quoting:
    """Return how to read the quotes of a file, from its first lines where the option is auto.

    A csv is read as standard. So is a tsv with a column that is quoted throughout: there, quotes
    are no part of a value though it does not need them.
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
    """Yield the records of a file, the header first; one without fields is a blank line."""
    source = iter(text)
    head = next(source, "")
    delimiter = delimiter_of(url, head)
    reader = _Lines(itertools.chain([head] if head else [], source), head)
    if quoting == "none":
        yield from _plain(reader, delimiter)
    else:
        yield from _quoted(reader, delimiter, quoting == "needed")


class _Lines:
    """Lines on their way to a csv reader: those taken since ``begin``, and those put back."""

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
        """Give all lines taken but the first once more."""
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
                raise csv.Error("a record over too many characters")
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
            if _takes_rows(fields, lines.taken, delimiter, columns):
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


def _takes_rows(fields: list[str], lines: list[str], delimiter: str, columns: int) -> bool:
    """Whether a record of several lines is one that a stray quote made of several rows: each line
    has the delimiters of a row. Commas are common in captions, so that takes more lines."""
    if not columns or len(lines) == 1:
        return False
    if len(fields) != columns:
        return True
    if columns == 1 or (delimiter != "\t" and len(lines) < ROW_LIKE_LINES):
        return False
    alike = sum(line.count(delimiter) == columns - 1 for line in lines)
    return alike >= MOST * len(lines)


def _as_needed(fields: list[str] | str, plain: list[str], columns: int) -> list[str]:
    """Return a line's fields with quotes read away only where a field needs them."""
    if isinstance(fields, str) or (len(fields) != columns and len(plain) == columns):
        return plain
    if len(fields) != len(plain):
        return fields  # a delimiter stands inside quotes
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
