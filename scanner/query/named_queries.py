"""Run named queries: check their parameters, and say how to add what a run lacks."""

import re

import pyarrow as pa

from scanner.errors import UsageError, UserError
from scanner.query.connection import RunTables
from scanner.query.library import Query
from scanner.query.views import TABLES

# How to add what a run may lack.
REMEDIES = {
    "verdicts": "run memscan verify RUN, which generates images from the top of the ranking",
    "mitigated": "run memscan verify RUN --mitigate, which judges mitigated images",
    "sample_scores": "run memscan score-samples RUN, which scores images with their captions",
    "image_clusters": "run memscan group-images RUN, which groups images that are the same",
    "decisions": "run memscan review RUN, where people decide",
    "reviewed": "run memscan review RUN, where people decide",
    "thresholds": "add --calibration FILE (memscan calibrate creates one)",
    "triggers": "scan with --profile triage or standard, or with --signals token_mass",
}


def run_named_query(tables: RunTables, query: Query, given: dict[str, str]) -> pa.Table:
    """Return the rows of a named query.

    Raises UsageError for wrong parameters, and UserError, with what to run first, if the run lacks
    a table or column that the query needs.
    """
    bound = query.bind(given)
    for parameter, view in query.columns_of.items():
        bound[parameter] = _column(tables, view, parameter, bound[parameter])
    for name in query.needs:
        if _is_missing(tables, name):
            raise UserError(f"query {query.name}: this run has no {name}: {remedy(tables, name)}")
    return tables.query(query.sql, bound)


def empty_tables(tables: RunTables, sql: str) -> dict[str, str]:
    """Return the empty tables that a statement names, each with how to fill it."""
    words = set(re.findall(r"\w+", sql.lower()))
    names = [name for name in REMEDIES if name in words and name != "triggers"]
    return {name: remedy(tables, name) for name in names if _is_missing(tables, name)}


def remedy(tables: RunTables, name: str) -> str:
    """Return how to add a table or column that the run lacks."""
    return REMEDIES[name].replace("RUN", tables.url)


def _is_missing(tables: RunTables, name: str) -> bool:
    if name in TABLES or name == "thresholds":
        return tables.query(f"FROM {name} LIMIT 1").num_rows == 0
    return name not in tables.schema.names


def _column(tables: RunTables, view: str, parameter: str, name: str) -> str:
    """Return the column of a view with this name; case matters only if several columns match.

    Raises UsageError if none or several do.
    """
    columns = tables.query(f"FROM {view} LIMIT 0").column_names
    if name in columns:
        return name
    # DuckDB numbers columns that differ only in case: url and URL become url and URL_1.
    pattern = re.compile(rf"{re.escape(name)}(_\d+)?", re.IGNORECASE)
    matches = [column for column in columns if pattern.fullmatch(column)]
    if [column.lower() for column in matches] == [name.lower()]:
        return matches[0]
    if matches:
        raise UsageError(
            f"--param {parameter}={name}: ambiguous in {view}, which has {' and '.join(matches)} "
            "(columns that differ only in case are numbered); give one of these names"
        )
    raise UsageError(
        f"--param {parameter}={name}: {view} has no such column; it has {', '.join(columns)}"
    )
