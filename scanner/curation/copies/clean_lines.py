"""A csv, tsv, jsonl or txt file without some of its rows: what stays is the same to the byte."""

import io
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from scanner.captions.bounded_lines import LongLine, bounded_lines
from scanner.captions.formats import ending_of
from scanner.captions.records import Quoting, Record, records
from scanner.curation.copies.packing import write_packed
from scanner.storage import open_input


def clean_lines(source: Path, target: Path, removed: Set[int], quoting: Quoting | None) -> None:
    """Write ``target``; rows are counted as the scan counts them, with quotes read as planned."""
    with open_input(str(source), compression="infer") as raw, write_packed(target) as out:
        newline = "\n" if ending_of(source.name) == ".txt" else ""
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline=newline)
        found = bounded_lines(text, newline or "\r\n", keep=True)
        for row, lines in _rows(str(source), found, quoting or "standard"):
            for line in () if row in removed else lines:
                for data in _bytes_of(line):
                    out.write(data)


def _bytes_of(line: str) -> Iterable[bytes]:
    return (
        line.chunks() if isinstance(line, LongLine) else [line.encode("utf-8", "surrogateescape")]
    )


def _rows(url: str, text: Iterable[str], quoting: Quoting) -> Iterator[tuple[int, list[str]]]:
    """Each row's number and its lines as they stand in the file, with blank ones before them; −1
    is what is no row."""
    found: Iterator[Record]
    if ending_of(url) in (".jsonl", ".ndjson", ".txt"):
        row, found = 0, ((line.strip(), [line]) for line in text)
    else:
        row, found = -1, records(url, text, quoting)  # -1: the header
    blank: list[str] = []
    for content, lines in found:
        if not content:
            blank += lines
            continue
        yield row, blank + lines
        blank.clear()
        row += 1
    yield -1, blank
