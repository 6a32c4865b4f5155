"""Show and write the rows of a result."""

import csv
import io
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.escaping import escaped, json_text, printable
from jobs.output import write_out
from jobs.plain_values import plain_rows
from jobs.streams import escapes_json
from scanner.errors import UsageError

log = logging.getLogger("memscan")

SHOWN = 1000
FORMS = ("csv", "json", "parquet")
# A narrower column of text is hard to read.
READABLE = 16


@dataclass(frozen=True, kw_only=True)
class Written:
    """The options of a command whose result is a table."""

    format: Literal["table", "csv", "json", "parquet"] | None = None
    """How the rows are written: by default as --out ends, else csv in a file, and a table on the
    standard output; parquet needs --out."""
    json: bool = False
    """The same as --format json."""
    out: str | None = None
    """A file or URL instead of the standard output."""
    csv_safe: bool = False
    """In csv, put an apostrophe before each cell that a spreadsheet would take for a formula (one
    that begins with = + - @, a tab or a line break)."""

    def write(self, table: pa.Table, first: Sequence[str] = ()) -> None:
        """See :func:`write_table`."""
        write_table(table, "json" if self.json else self.format, self.out, first, self.csv_safe)


def write_table(
    table: pa.Table,
    form: str | None,
    out: str | None,
    first: Sequence[str] = (),
    csv_safe: bool = False,
) -> None:
    """``form``: table, csv, json, parquet, or None to go by where it is written; to a file, or to
    the standard output. ``first``: the columns shown where a terminal has no room for all.
    ``csv_safe``: have no cell of csv begin as a spreadsheet's formula does.

    JSON is an array of objects, one a row. Raises UserError where the file cannot be written.
    """
    form = form or (_form_of(out) if out is not None else "table")
    if csv_safe and form != "csv":
        raise UsageError(f"--csv-safe: only csv needs it, and this is {form}; add --format csv")
    table = _distinct_names(table)
    if out is not None:
        _to_file(table, form, out, csv_safe)
        log.info(f"{len(table):,} rows into {out}")
    elif form == "parquet":
        raise UsageError("parquet is no text: name a file with --out")
    elif form == "table":
        print_table(plain_rows(table.slice(0, SHOWN)), table.column_names, first)
        if not len(table):
            log.info("no rows")
        if len(table) > SHOWN:
            log.info(f"… and {len(table) - SHOWN:,} more rows; --out FILE or --format csv has all")
    elif form == "json":
        sys.stdout.write(json_text(plain_rows(table), escapes_json(), allow_nan=False) + "\n")
    else:
        # Exact in a pipe or file; on a terminal nothing in it steers.
        _write_csv(table, _Escaping() if sys.stdout.isatty() else sys.stdout, csv_safe)


def _form_of(out: str) -> str:
    """The form that a file's name asks for; csv where it has no ending."""
    _, dot, ending = out.rpartition("/")[2].rpartition(".")
    if dot and ending.lower() not in FORMS:
        raise UsageError(f"--out {out}: end it in .{', .'.join(FORMS)}, or say --format")
    return ending.lower() if dot else "csv"


class _Escaping(io.TextIOBase):
    """Standard output that shows lines of CSV to a person."""

    def write(self, text: str) -> int:
        return sys.stdout.write(escaped(text.replace("\r\n", "\n")))


def _to_file(table: pa.Table, form: str, out: str, csv_safe: bool) -> None:
    def fill(file: IO[bytes]) -> None:
        if form == "parquet":
            pq.write_table(table, file, compression="zstd")
            return
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        if form == "json":
            rows = plain_rows(table)
            json.dump(rows, text, indent=1, ensure_ascii=False, default=str, allow_nan=False)
            text.write("\n")
        else:
            _write_csv(table, text, csv_safe)
        text.detach()

    write_out(out, fill)


def _write_csv(table: pa.Table, file: IO[str] | io.TextIOBase, safe: bool) -> None:
    from scanner.query import text_cell

    def cell_of(value: Any) -> Any:
        if isinstance(value, list | dict):
            value = json.dumps(value, ensure_ascii=False, default=str)
        return text_cell(value) if safe and isinstance(value, str) else value

    writer = csv.writer(file)
    writer.writerow(map(cell_of, table.column_names))
    writer.writerows(map(cell_of, row.values()) for row in plain_rows(table))


def _distinct_names(table: pa.Table) -> pa.Table:
    """SQL may give two columns one name; the second becomes NAME_1, so that none is lost."""
    names: list[str] = []
    for name in table.column_names:
        number = 0
        while (new := f"{name}_{number}" if number else name) in names:
            number += 1
        names.append(new)
    return table.rename_columns(names)


def print_table(
    rows: list[dict[str, Any]], columns: Sequence[str], first: Sequence[str] = ()
) -> None:
    """Rows as a table as wide as the terminal (wide, where it is none). Where that leaves columns
    too narrow to read: the ``first`` ones only, or each row's values one below the other."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    cells = {name: [cell(row[name]) for row in rows] for name in columns}
    if first and not _fits(console, cells):
        left = ", ".join(name for name in columns if name not in first)
        log.info(f"not shown for want of room: {left}; --format csv has all")
        cells = {name: cells[name] for name in first}
    if not _fits(console, cells):
        _print_records(console, cells)
        return
    table = Table(show_edge=False, pad_edge=False)
    for name in cells:
        number = all(isinstance(row[name], int | float | None) for row in rows)
        table.add_column(
            Text(printable(name)), justify="right" if number else "left", overflow="fold"
        )
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    console.print(table)


def _fits(console: Console, cells: dict[str, list[Text]]) -> bool:
    least = [
        max(len(name), *(min(len(one), READABLE) for one in found), 0)
        for name, found in cells.items()
    ]
    return sum(least) + 3 * len(least) <= console.width


def _print_records(console: Console, cells: dict[str, list[Text]]) -> None:
    for number, row in enumerate(zip(*cells.values(), strict=True)):
        record = Table.grid(padding=(0, 2))
        for name, value in zip(cells, row, strict=True):
            record.add_row(Text(printable(name), style="bold"), value)
        if number:
            console.print()
        console.print(record)


def cell(value: Any) -> Text:
    """A value as a person reads it. Captions are untrusted: no markup, no control characters."""
    if value is None or value == []:
        return Text("")
    if isinstance(value, float):
        whole = 1e4 <= abs(value) < 1e15
        return Text(f"{value:.0f}" if whole else f"{value:.4g}")
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = "; ".join(value)
    elif isinstance(value, list) and value and all(_is_span(item) for item in value):
        value = "; ".join(item["text"] for item in value)
    elif isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = printable(str(value))
    return Text(text if len(text) <= 300 else text[:299] + "…")


def _is_span(value: Any) -> bool:
    """Words of a caption, as in the column triggers."""
    return isinstance(value, dict) and {"start", "end", "text"} <= value.keys()
