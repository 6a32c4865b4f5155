"""A csv, tsv or jsonl file without some of its rows: what stays is the same to the byte."""

import io
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from scanner.captions.formats import ending_of
from scanner.captions.lines import csv_records
from scanner.curation.copies.packing import write_packed
from scanner.storage import open_input


def clean_lines(source: Path, target: Path, removed: Set[int]) -> None:
    """Write ``target``; rows are counted as the scan counts them. Raises ValueError for a file
    that ends inside a quote."""
    with open_input(str(source), compression="infer") as raw, write_packed(target) as out:
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
        for row, lines in _rows(str(source), text):
            if row not in removed:
                out.write(lines.encode("utf-8", "surrogateescape"))


def _rows(url: str, text: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Each row's number and its text as it stands in the file, with blank lines before it; −1 is
    what is no row."""
    lines = _Recorded(text)
    if ending_of(url) in (".jsonl", ".ndjson"):
        rows = (line for line in lines if line.strip())
        yield from ((row, lines.take()) for row, _ in enumerate(rows))
    else:
        records = csv_records(url, lines)
        yield from ((row, lines.take()) for row, _ in enumerate(records, -1))  # -1: the header
    yield -1, lines.take()


class _Recorded:
    """Lines on their way to a reader, kept as they are until they are taken."""

    def __init__(self, text: Iterable[str]) -> None:
        self._text = text
        self._lines: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._text):
            self._lines.append(line)
            yield line.removeprefix("\ufeff") if number == 0 else line

    def take(self) -> str:
        taken = "".join(self._lines)
        self._lines.clear()
        return taken
