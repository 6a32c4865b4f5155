"""A list of captions that a user names: a table's column, or text with one a line."""

from collections.abc import Sequence

import pyarrow as pa

from scanner.captions.formats import ENDINGS, UnreadableFile, inspect, read
from scanner.captions.values import captions
from scanner.errors import UserError
from scanner.storage import is_transient, open_input


def read_listed(url: str, option: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    """The first of ``columns`` that a table has, whatever its case, and its values; of any other
    file, its lines as ``caption``.

    Raises UserError, naming ``option``, where the file cannot be read or holds none.
    """
    where = f"{option} {url}"
    try:
        if url.lower().endswith(ENDINGS):
            name, values = _of_table(url, where, columns)
        else:
            name, values = "caption", _lines(url)
    except (OSError, UnicodeDecodeError, UnreadableFile) as error:
        if is_transient(error):
            raise
        raise UserError(f"{where}: cannot be read: {error}") from error
    if not values:
        raise UserError(f"{where}: there are no captions in it")
    return name, values


def _lines(url: str) -> list[str]:
    with open_input(url, compression="infer") as file:
        # At line feeds alone: a caption may hold what Python takes for the end of a line.
        lines = file.read().decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    return [line for line in lines if line.strip()]


def _of_table(url: str, where: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    there = {column.lower(): column for column in inspect(url).columns}
    if not there:
        return columns[0], []
    name = next((name for name in columns if name in there), None)
    if name is None:
        have = ", ".join(there.values())
        raise UserError(f"{where}: no column {', '.join(columns)}; it has {have}")
    values: list[str] = []
    for batch in read(url, [there[name]]):
        if batch.bad:
            row, reason = batch.bad[0]
            raise UserError(f"{where}, row {row}: {reason}")
        texts, bad = captions(batch.columns[there[name]])
        if bad:
            place, reason = next(iter(sorted(bad.items())))
            raise UserError(f"{where}, row {batch.rows[place]}: {reason}")
        values += pa.array(texts).to_pylist()
    return name, values
