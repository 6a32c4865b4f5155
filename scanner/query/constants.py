"""Small Arrow tables as SQL text, which views can contain instead of reading a table."""

from typing import Any

import duckdb
import pyarrow as pa

from scanner.query.quoting import identifier, literal

# DuckDB's types by schema: a few, which this package defines.
_KINDS: dict[pa.Schema, list[str]] = {}


def constant(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> str:
    """Return a SELECT of the table's rows; each value is a string cast to its column's type.

    Raises UserError if SQL cannot represent a value.
    """
    columns = _columns(connection, table.schema)
    kinds = [kind for _, kind in columns]
    if not len(table):
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns)
        return f"SELECT {nulls} WHERE false"
    rows = ", ".join(
        f"({', '.join(_value(value, kind) for value, kind in zip(row, kinds, strict=True))})"
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True)
    )
    return f"FROM (VALUES {rows}) AS constants({', '.join(name for name, _ in columns)})"


def cast(connection: duckdb.DuckDBPyConnection, schema: pa.Schema, rows: str) -> str:
    """Return a SELECT that casts the rows of another SELECT to a schema's types."""
    casts = ", ".join(
        f"CAST({name} AS {kind}) AS {name}" for name, kind in _columns(connection, schema)
    )
    return f"SELECT * REPLACE ({casts}) FROM ({rows})"


def _columns(connection: duckdb.DuckDBPyConnection, schema: pa.Schema) -> list[tuple[str, str]]:
    """Return the quoted name and the DuckDB type of each column."""
    if schema not in _KINDS:
        _KINDS[schema] = [*map(str, connection.from_arrow(schema.empty_table()).dtypes)]
    return list(zip(map(identifier, schema.names), _KINDS[schema], strict=True))


def _value(value: Any, kind: str) -> str:
    return f"CAST({'NULL' if value is None else literal(str(value))} AS {kind})"
