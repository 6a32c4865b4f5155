"""Define tables and views of a connection."""

import duckdb
import pyarrow as pa

from scanner.query.constants import constant
from scanner.query.quoting import identifier
from scanner.query.statements import execute_one


def create_table(
    connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table | pa.RecordBatchReader
) -> None:
    """Create or replace a table from Arrow data; ``name``: quoted, with its schema."""
    connection.register("arrow_rows", rows)
    execute_one(connection, f"CREATE OR REPLACE TABLE {name} AS FROM arrow_rows")
    connection.unregister("arrow_rows")


def rows_as_sql(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> str:
    """Return SQL for the rows, which a table of this quoted name has unless there are none."""
    if not len(rows):
        return f"({constant(connection, rows)})"
    create_table(connection, name, rows)
    return name


def create_view(
    connection: duckdb.DuckDBPyConnection, schema: str, view: str, definition: str
) -> None:
    """Create a view from trusted SQL."""
    name = f"{identifier(schema)}.{identifier(view)}"
    execute_one(connection, f"CREATE VIEW {name} AS {definition}")
