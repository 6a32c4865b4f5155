"""Print or write the rows of a result."""

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

from jobs.console.escaping import escaped, json_text, printable
from jobs.console.output import write_out
from jobs.console.plain_values import plain_rows
from jobs.console.streams import escapes_json
from scanner.errors import UsageError

log = logging.getLogger("memscan")

SHOWN = 1000
FORMS = ("csv", "json", "parquet")
# Minimum width of a text column to be readable.
READABLE = 16


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Output options of a command whose result is a table."""

    format: Literal["table", "csv", "json", "parquet"] | None = None
    """Output format. Default: the file extension of --out (csv if it has none), or table on
    standard output. parquet needs --out."""
    json: bool = False
    """Same as --format json."""
    out: str | None = None
    """File or URL to write to, for example ranking.csv. Default: standard output."""
    csv_safe: bool = False
    """In csv, put an apostrophe before each cell that a spreadsheet would run as a formula (one
    that starts with = + - @, a tab or a line break)."""

    @property
    def is_shown(self) -> bool:
        """Return whether the table goes to people, on standard output."""
        return self.out is None and not self.json and self.format in (None, "table")

    def write(self, table: pa.Table, first: Sequence[str] = ()) -> None:
        """Write a table as these options say; see :func:`write_table`."""
        write_table(table, "json" if self.json else self.format, self.out, first, self.csv_safe)


def write_table(
    table: pa.Table,
    form: str | None,
    out: str | None,
    first: Sequence[str] = (),
    csv_safe: bool = False,
) -> None:
    """Write a table to a file, or to standard output if ``out`` is None.

    ``form``: table, csv, json or parquet; None derives it from ``out``. ``first``: columns to show
    if a terminal is too narrow for all. ``csv_safe``: escape cells that a spreadsheet would run as
    formulas. JSON is an array with one object per row. Raises UserError if the file cannot be
    written.
    """
    form = form or (_form_of(out) if out is not None else "table")
    if csv_safe and form != "csv":
        raise UsageError(f"--csv-safe: the format must be csv, got {form}; add --format csv")
    table = _distinct_names(table)
    if out is not None:
        _to_file(table, form, out, csv_safe)
        log.info(f"wrote {len(table):,} rows to {out}")
    elif form == "parquet":
        raise UsageError("--format parquet: cannot be printed; name a file with --out")
    elif form == "table":
        print_table(plain_rows(table.slice(0, SHOWN)), table.column_names, first)
        if not len(table):
            log.info("no rows")
        if len(table) > SHOWN:
            log.info(
                f"… and {len(table) - SHOWN:,} more rows; use --out FILE or --format csv for all"
            )
    elif form == "json":
        sys.stdout.write(json_text(plain_rows(table), escapes_json(), allow_nan=False) + "\n")
    else:
        # Exact in a pipe or file; escaped on a terminal.
        _write_csv(table, _Escaping() if sys.stdout.isatty() else sys.stdout, csv_safe)


def _form_of(out: str) -> str:
    """Return the format of a file by its name's ending, csv if it has none."""
    _, dot, ending = out.rpartition("/")[2].rpartition(".")
    if dot and ending.lower() not in FORMS:
        raise UsageError(f"--out {out}: unknown ending; use .{', .'.join(FORMS)}, or give --format")
    return ending.lower() if dot else "csv"


class _Escaping(io.TextIOBase):
    """Standard output with control characters escaped, for CSV on a terminal."""

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
    """Rename duplicate columns, which SQL allows: the second NAME becomes NAME_1."""
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
    """Print rows as a table of the terminal's width, or of 160 characters if it is not a terminal.

    If the columns do not fit, print only the ``first`` ones, else each row as a list of values.
    """
    console = Console(width=None if sys.stdout.isatty() else 160)
    cells = {name: [cell(row[name]) for row in rows] for name in columns}
    if first and not _fits(console, cells):
        hidden = ", ".join(name for name in columns if name not in first)
        log.info(f"columns that do not fit: {hidden}; use --format csv for all")
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
        max(len(name), *(min(len(cell), READABLE) for cell in column), 0)
        for name, column in cells.items()
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
    """Format an untrusted value for a terminal, without markup or control characters."""
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
    """Return whether a value is a span of a caption, as in the column triggers."""
    return isinstance(value, dict) and {"start", "end", "text"} <= value.keys()
