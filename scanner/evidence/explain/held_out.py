"""Captions that no model was trained on, to compare with."""

from collections.abc import Sequence
from pathlib import Path

from scanner.captions.columns import resolve
from scanner.captions.formats import UnreadableFile, inspect, read
from scanner.errors import UserError

PLAIN = Path(__file__).with_name("held_out.txt")


def read_captions(file: str) -> list[str]:
    """The captions of a file in a format that scan reads, or of a .txt with one a line.

    Raises UserError where it cannot be read or holds none.
    """
    try:
        found = _lines(file) if file.endswith(".txt") else _column(file)
    except (OSError, UnicodeDecodeError, UnreadableFile) as error:
        raise UserError(f"--band {file}: cannot be read: {error}") from error
    if not found:
        raise UserError(f"--band {file}: no captions in it")
    return found


def _lines(file: str) -> list[str]:
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _column(file: str) -> list[str]:
    column = resolve(inspect(file).columns, file).caption
    values = [value for batch in read(file, [column]) for value in batch.columns[column]]
    texts = [value.as_py() if hasattr(value, "as_py") else value for value in values]
    return [text for text in texts if isinstance(text, str) and text.strip()]


def spread(captions: Sequence[str], most: int, without: str) -> list[str]:
    """At most so many distinct captions, evenly spread over the list; never the one ``without``."""
    distinct = [caption for caption in dict.fromkeys(captions) if caption != without]
    count = min(most, len(distinct))
    return [distinct[number * len(distinct) // count] for number in range(count)]
