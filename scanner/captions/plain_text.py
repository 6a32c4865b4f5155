"""Read text files with one caption per line."""

from collections.abc import Iterator

from scanner.captions.batch import Batch, Contents, Extent, collect
from scanner.captions.bounded_lines import LongLine
from scanner.captions.lines import check_encoding, lines_of

COLUMN = "caption"


def text_contents(url: str) -> Contents:
    """Return the single column. Raises UserError if the file is UTF-16 text."""
    with lines_of(url, "\n") as lines:
        first = next(iter(lines), "")
        check_encoding(url, first)
    return Contents([COLUMN] if first else [])


def text_batches(
    url: str, columns: list[str], extent: Extent | None, batch_rows: int | None = None
) -> Iterator[Batch]:
    """Yield each nonblank line as a row."""
    # Split at line feeds only: a caption may contain other characters that end lines in Python.
    with lines_of(url, "\n") as lines:
        rows = (_row(line) for line in lines if line.strip())
        yield from collect(rows, columns, batch_rows=batch_rows)


def _row(line: str) -> dict | str:
    return f"bad row: {line}" if isinstance(line, LongLine) else {COLUMN: line.rstrip("\r\n")}
