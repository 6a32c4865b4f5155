"""Copy a csv, tsv, jsonl or txt file without some rows; the remaining bytes are unchanged."""

import io
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from scanner.captions.bounded_lines import LongLine, bounded_lines
from scanner.captions.formats import ending_of
from scanner.captions.records import Quoting, Record, records
from scanner.curation.copies.reproducible_gzip import open_compressed
from scanner.storage import open_input


def clean_lines(source: Path, target: Path, removed: Set[int], quoting: Quoting | None) -> None:
    """Write ``target``; rows are numbered as in the scan, with the same quoting."""
    with open_input(str(source), compression="infer") as raw, open_compressed(target) as out:
        newline = "\n" if ending_of(source.name) == ".txt" else ""
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline=newline)
        bounded = bounded_lines(text, newline or "\r\n", keep=True)
        for row, lines in _rows(str(source), bounded, quoting or "standard"):
            for line in () if row in removed else lines:
                for data in _bytes_of(line):
                    out.write(data)


def _bytes_of(line: str) -> Iterable[bytes]:
    return (
        line.chunks() if isinstance(line, LongLine) else [line.encode("utf-8", "surrogateescape")]
    )


def _rows(url: str, text: Iterable[str], quoting: Quoting) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's number and its lines as in the file, including blank lines before them.

    The header and trailing blank lines have the number -1.
    """
    rows: Iterator[Record]
    if ending_of(url) in (".jsonl", ".ndjson", ".txt"):
        row, rows = 0, ((line.strip(), [line]) for line in text)
    else:
        row, rows = -1, records(url, text, quoting)
    blank: list[str] = []
    for content, lines in rows:
        if not content:
            blank += lines
            continue
        yield row, blank + lines
        blank.clear()
        row += 1
    yield -1, blank
