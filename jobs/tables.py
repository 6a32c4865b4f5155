"""Write a query's result the way the user asked for it."""

import csv
import json
import math
import sys
from decimal import Decimal
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
    table = _distinct_names(table)
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
    """Rows of values that JSON can say: decimals as numbers, NaN and infinity as null."""
    return [{name: _value(value) for name, value in row.items()} for row in table.to_pylist()]


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {name: _value(item) for name, item in value.items()}
    return value


def _distinct_names(table: pa.Table) -> pa.Table:
    """SQL may give two columns one name; the second becomes NAME_1, so that none is lost."""
    names: list[str] = []
    for name in table.column_names:
        number = 0
        while (new := f"{name}_{number}" if number else name) in names:
            number += 1
        names.append(new)
    return table.rename_columns(names)
