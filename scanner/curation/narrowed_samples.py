"""Leave samples out of the view samples for a while, and list them under the names of the list."""

from collections.abc import Iterator
from contextlib import contextmanager

from scanner.query import RunTables, identifier

# Columns of samples that every removal list has.
OWN = ("source", "row", "key", "caption_id", "image_key")


@contextmanager
def samples_without(tables: RunTables, table: str, using: str) -> Iterator[None]:
    """Leave the rows of a table, by the columns ``using``, out of the view samples."""
    whole = identifier(f"samples_and_{table}")
    tables.connection.execute(f"ALTER VIEW samples RENAME TO {whole}")
    narrowed = f"SELECT * FROM {whole} ANTI JOIN {identifier(table)} USING ({using})"
    tables.define_view("samples", narrowed)
    try:
        yield
    finally:
        tables.connection.execute("DROP VIEW samples")
        tables.connection.execute(f"ALTER VIEW {whole} RENAME TO samples")
