"""Rows of text files: one caption per line."""

import io
from collections.abc import Iterator

from scanner.captions.batch import Batch, Contents, Extent, collect
from scanner.captions.lines import stored_bytes
from scanner.storage import open_input

COLUMN = "caption"


def text_contents(url: str) -> Contents:
    size = stored_bytes(url)
    return Contents([COLUMN] if size else [], size)


def text_batches(url: str, columns: list[str], extent: Extent | None) -> Iterator[Batch]:
    """The lines that are not blank, each a row."""
    raw = open_input(url, compression="infer")
    # At line feeds alone: a caption may hold other characters that Python takes for line ends.
    with io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="\n") as file:
        lines = (line.rstrip("\r\n") for line in file)
        yield from collect(({COLUMN: line} for line in lines if line.strip()), columns)
