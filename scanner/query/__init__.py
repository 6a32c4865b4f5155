"""DuckDB over a run: views, named queries, safe user SQL."""

from scanner.query.connection import RunTables, open_run
from scanner.query.library import Query, library
from scanner.query.ranking import rank

__all__ = ["Query", "RunTables", "library", "open_run", "rank"]
