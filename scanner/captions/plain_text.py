"""Rows of text files: one caption per line."""

import io
from collections.abc import Iterator

from scanner.captions.batch import Batch, Contents, Extent, collect
from scanner.captions.lines import stored_bytes
from scanner.storage import open_input

COLUMN = "caption"
FIRST_CHARACTERS = 1 << 20


def text_contents(url: str) -> Contents:
    """One column. Raises ValueError for what is no UTF-8 text."""
    size = stored_bytes(url)
    with _text(url) as file:
        if "\0" in file.readline(FIRST_CHARACTERS):
            raise ValueError("zero bytes in its first line, as in UTF-16; save it as UTF-8")
    return Contents([COLUMN] if size else [], size)


def text_batches(url: str, columns: list[str], extent: Extent | None) -> Iterator[Batch]:
    """The lines that are not blank, each a row."""
    with _text(url) as file:
        lines = (line.rstrip("\r\n") for line in file)
        yield from collect(({COLUMN: line} for line in lines if line.strip()), columns)


def _text(url: str) -> io.TextIOWrapper:
    raw = open_input(url, compression="infer")
    # At line feeds alone: a caption may hold other characters that Python takes for line ends.
    return io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="\n")
