"""A run's files as SQL for DuckDB, without globbing or Hive partitioning."""

import re
from collections.abc import Sequence

import duckdb

from scanner.query.quoting import literal
from scanner.storage import LiteralFiles, Store


class AllowedFiles:
    """The files that one connection may read.

    DuckDB expands ``*``, ``?`` and ``[`` in every path and takes text in UTF-8 only. A local path
    without these is read natively; any other file is served under an encoded name.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.paths: list[str] = []
        self._served = LiteralFiles()
        connection.register_filesystem(self._served)

    def parquet(self, store: Store, names: Sequence[str], same_columns: bool = True) -> str:
        """Return SQL for the rows of a store's files.

        ``same_columns=False``: files may differ in columns; a column is null in files without it.
        """
        paths = [self._path(store, name) for name in names]
        self.paths += paths
        listed = ", ".join(map(literal, paths))
        by_name = "" if same_columns else ", union_by_name = true"
        return f"read_parquet([{listed}], hive_partitioning = false{by_name})"

    def _path(self, store: Store, name: str) -> str:
        location = store.location(name)
        return location if _is_plain(location, store) else self._served.add(store, name)


def _is_plain(location: str, store: Store) -> bool:
    """Whether DuckDB opens exactly this path."""
    return not store.is_remote and bool(re.fullmatch(r"/[^*?\[\ud800-\udfff]*", location))
