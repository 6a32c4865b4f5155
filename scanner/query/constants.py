"""Small Arrow tables as SQL: a view can hold them, so a connection needs no table of its own."""

from typing import Any

import duckdb
import pyarrow as pa

from scanner.query.quoting import identifier, literal


def constant(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> str:
    """Return a SELECT of the table's rows, each value a text cast to its column's type.

    Raises UserError where SQL cannot hold a value.
    """
    kinds = [str(kind) for kind in connection.from_arrow(table.slice(0, 0)).dtypes]
    columns = list(zip(map(identifier, table.column_names), kinds, strict=True))
    if not len(table):
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns)
        return f"SELECT {nulls} WHERE false"
    rows = ", ".join(
        f"({', '.join(_value(value, kind) for value, kind in zip(row, kinds, strict=True))})"
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True)
    )
    return f"FROM (VALUES {rows}) AS given({', '.join(name for name, _ in columns)})"


def _value(value: Any, kind: str) -> str:
    return f"CAST({'NULL' if value is None else literal(str(value))} AS {kind})"
