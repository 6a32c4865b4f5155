"""DuckDB over a run: views, named queries, safe user SQL."""

from scanner.query.calibrated import COMBINATION, Calibration, SignalThreshold, binding_of
from scanner.query.clusters import caption_words, near_duplicate_clusters
from scanner.query.connection import RunTables, open_run
from scanner.query.coverage import Coverage, measure_coverage
from scanner.query.library import Query, library
from scanner.query.named_queries import empty_tables, run_named_query
from scanner.query.quoting import abbreviated, identifier
from scanner.query.ranking import rank
from scanner.query.spreadsheets import text_cell, text_cells

__all__ = [
    "COMBINATION",
    "Calibration",
    "Coverage",
    "Query",
    "RunTables",
    "SignalThreshold",
    "abbreviated",
    "binding_of",
    "caption_words",
    "empty_tables",
    "identifier",
    "library",
    "measure_coverage",
    "near_duplicate_clusters",
    "open_run",
    "rank",
    "run_named_query",
    "text_cell",
    "text_cells",
]
