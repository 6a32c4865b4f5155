"""Convert rows of any SQL type to values that JSON, CSV and a terminal can show."""

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

WHOLE_SECONDS = r"\.0+(Z?)$"


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows with decimals as numbers, NaN and infinity as null, and dates, times,
    intervals and binary values as text; times with a zone are in UTC (``2025-11-28 13:40:12Z``)."""
    columns = [_times_as_text(column).to_pylist() for column in table.columns]
    return [
        {name: _value(value) for name, value in zip(table.column_names, row, strict=True)}
        for row in zip(*columns, strict=True)
    ]


def _times_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Format times with Arrow: Python's datetime stops at the year 9999 and at microseconds."""
    textual = _textual(column.type)
    if textual == column.type:
        return column
    column = column.cast(textual)
    if not pa.types.is_string(textual):
        return column
    return pc.replace_substring_regex(column, WHOLE_SECONDS, r"\1")


def _textual(kind: pa.DataType) -> pa.DataType:
    """Return a type with strings in place of dates and times, at any depth."""
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return pa.string()
    if pa.types.is_map(kind):
        return pa.map_(_textual(kind.key_type), _textual(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_textual(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(_textual(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_textual(field.type)) for field in kind])
    return kind


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, pa.MonthDayNano):
        return _interval(value)
    if isinstance(value, bytes):
        return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02X}" for byte in value)
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {name: _value(item) for name, item in value.items()}
    return value


def _interval(value: pa.MonthDayNano) -> str:
    """Format an interval as ``2 months 3 days 00:01:30``."""
    seconds, fraction = divmod(abs(value.nanoseconds), 10**9)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    clock += f".{fraction:09}".rstrip("0") if fraction else ""
    parts = [
        f"{count} {unit}{'' if abs(count) == 1 else 's'}"
        for count, unit in ((value.months, "month"), (value.days, "day"))
        if count
    ]
    if value.nanoseconds or not parts:
        parts.append(f"-{clock}" if value.nanoseconds < 0 else clock)
    return " ".join(parts)
