"""Write a query's result the way the user asked for it."""

import csv
import json
import sys
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.terminal import print_table, say
from scanner.errors import UserError

SHOWN = 1000


def write_table(table: pa.Table, form: str, out: Path | None) -> None:
    """``form``: table, csv, json or parquet; to a file, or to the standard output.

    JSON is an array of objects, one a row. Raises UserError where the file cannot be written.
    """
    if form == "parquet":
        if out is None:
            raise UserError("parquet is no text: name a file with --out")
        _to_file(out, lambda path: pq.write_table(table, path, compression="zstd"))
    elif out is not None:

        def write(path: Path) -> None:
            with path.open("w", newline="", encoding="utf-8") as file:
                _write_text(table, "csv" if form == "table" else form, file)

        _to_file(out, write)
    elif form == "table":
        print_table(_plain(table.slice(0, SHOWN)), table.column_names)
        if len(table) > SHOWN:
            say(f"… and {len(table) - SHOWN:,} more rows; --out FILE or --format csv has all")
    else:
        _write_text(table, form, sys.stdout)


def _to_file(path: Path, write: Any) -> None:
    try:
        write(path)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written: {error}") from error


def _write_text(table: pa.Table, form: str, file: IO[str]) -> None:
    if form == "json":
        json.dump(_plain(table), file, indent=1, ensure_ascii=False, default=str, allow_nan=False)
        file.write("\n")
        return
    writer = csv.writer(file)
    writer.writerow(table.column_names)
    for row in _plain(table):
        writer.writerow(
            json.dumps(value, ensure_ascii=False, default=str)
            if isinstance(value, list | dict)
            else value
            for value in row.values()
        )


def _plain(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of Python values; a number that JSON cannot say (NaN, infinity) becomes null."""
    rows = table.to_pylist()
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and value - value != 0:
                row[name] = None
    return rows
