"""DuckDB over a run: views, named queries, safe user SQL."""

from scanner.query.asking import ask, empty_tables
from scanner.query.calibrated import COMBINATION, Calibration, SignalThreshold, binding_of
from scanner.query.clusters import near_duplicate_clusters
from scanner.query.connection import RunTables, open_run
from scanner.query.library import Query, library
from scanner.query.quoting import identifier, shown
from scanner.query.ranking import rank
from scanner.query.scanned import Scanned, scanned
from scanner.query.spreadsheets import text_cell, text_cells

__all__ = [
    "COMBINATION",
    "Calibration",
    "Query",
    "RunTables",
    "Scanned",
    "SignalThreshold",
    "ask",
    "binding_of",
    "empty_tables",
    "identifier",
    "library",
    "near_duplicate_clusters",
    "open_run",
    "rank",
    "scanned",
    "shown",
    "text_cell",
    "text_cells",
]
