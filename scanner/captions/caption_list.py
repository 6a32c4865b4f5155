"""Read a list of captions: a column of a table, or text with one caption per line."""

import io
import zlib
from collections.abc import Sequence

import pyarrow as pa

from scanner.captions.bounded_lines import LongLine, bounded_lines
from scanner.captions.formats import (
    UnreadableFile,
    ending_of,
    inspect,
    read,
    why_not_read,
)
from scanner.captions.limits import LIST_BYTES, OVER, is_over
from scanner.captions.values import captions
from scanner.errors import UserError
from scanner.storage import is_transient, open_input

CHECKED_EVERY = 256


def read_caption_list(url: str, option: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    """Return the first of ``columns`` that a table has (case-insensitive) and its values.

    Other files are read as text, one ``caption`` per line. Raises UserError, with ``option`` in the
    message, if the file is unreadable or empty.
    """
    where = f"{option} {url}"
    try:
        if not why_not_read(url, True) and ending_of(url) != ".txt":
            name, values = _of_table(url, where, columns)
        else:
            name, values = "caption", _lines(url, where)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, UnreadableFile) as error:
        if is_transient(error):
            raise
        raise UserError(f"{where}: cannot be read: {error}") from error
    if not values:
        raise UserError(f"{where}: it contains no captions")
    return name, values


def _lines(url: str, where: str) -> list[str]:
    found: list[str] = []
    raw = open_input(url, compression="infer")
    # Split at line feeds only: a caption may contain other characters that end lines in Python.
    with io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n") as text:
        for number, line in enumerate(bounded_lines(text, "\n"), 1):
            line = line if isinstance(line, LongLine) else line.rstrip("\n").removesuffix("\r")
            if isinstance(line, LongLine) or is_over(line):
                raise UserError(f"{where}, line {number}: caption {OVER}; leave it out")
            if line.strip():
                found.append(line)
                _check_size(found, where)
    return found


def _check_size(values: list[str], where: str) -> None:
    """Raise UserError if a list is too long for memory, checking periodically."""
    if len(values) % CHECKED_EVERY == 0 and sum(map(len, values)) > LIST_BYTES:
        raise UserError(
            f"{where}: a list of captions over {LIST_BYTES >> 20} MiB; scan them instead"
        )


def _of_table(url: str, where: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    try:
        contents = inspect(url)
    except UserError as error:
        raise UserError(f"{where.removesuffix(url)}{error}") from error
    present = {column.lower(): column for column in contents.columns}
    if not present:
        return columns[0], []
    name = next((name for name in columns if name in present), None)
    if name is None:
        have = ", ".join(present.values())
        raise UserError(f"{where}: no column {', '.join(columns)}; it has {have}")
    values: list[str] = []
    for batch in read(url, [present[name]]):
        if batch.bad:
            row, reason = batch.bad[0]
            raise UserError(f"{where}, row {row}: {reason}")
        texts, bad = captions(batch.columns[present[name]])
        bad |= {place: f"caption {why}" for place, (_, why) in batch.over.items()}
        if bad:
            place, reason = next(iter(sorted(bad.items())))
            raise UserError(f"{where}, row {batch.rows[place]}: {reason}")
        for value in pa.array(texts).to_pylist():
            values.append(value)
            _check_size(values, where)
    return name, values
