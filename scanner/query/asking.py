"""Ask a run a named query: its parameters checked against the run, and what it lacks named."""

import re

import pyarrow as pa

from scanner.errors import UsageError, UserError
from scanner.query.connection import RunTables
from scanner.query.library import Query
from scanner.query.views import TABLES

# What fills the tables that a run may lack.
FILLED_BY = {
    "verdicts": "memscan verify RUN generates from the first of the ranking and judges",
    "mitigated": "memscan verify RUN --mitigate judges mitigated pictures",
    "thresholds": "--calibration FILE brings them (memscan calibrate makes one)",
    "triggers": "scan with --profile triage or standard, or with --signals token_mass",
}


def ask(tables: RunTables, query: Query, given: dict[str, str]) -> pa.Table:
    """Return a named query's rows.

    Raises UsageError for wrong parameters, and UserError, with what to run first, where the run
    lacks what the query is about.
    """
    bound = query.bind(given)
    for parameter, view in query.columns_of.items():
        bound[parameter] = _column(tables, view, parameter, bound[parameter])
    for name in query.needs:
        if _is_missing(tables, name):
            raise UserError(f"query {query.name}: this run has no {name}: {remedy(tables, name)}")
    return tables.query(query.sql, bound)


def empty_tables(tables: RunTables, sql: str) -> dict[str, str]:
    """The tables without rows that a statement names, and what fills them."""
    words = set(re.findall(r"\w+", sql.lower()))
    names = [name for name in FILLED_BY if name in words and name != "triggers"]
    return {name: remedy(tables, name) for name in names if _is_missing(tables, name)}


def remedy(tables: RunTables, name: str) -> str:
    """What fills a table that a run lacks."""
    return FILLED_BY[name].replace("RUN", tables.url)


def _is_missing(tables: RunTables, name: str) -> bool:
    if name in TABLES or name == "thresholds":
        return tables.query(f"FROM {name} LIMIT 1").num_rows == 0
    return name not in tables.schema.names


def _column(tables: RunTables, view: str, parameter: str, name: str) -> str:
    """The column of a view that a name means, in any case if it is the only one."""
    have = tables.query(f"FROM {view} LIMIT 0").column_names
    if name in have:
        return name
    # DuckDB numbers columns that differ in case only: url and URL are url and URL_1.
    pattern = re.compile(rf"{re.escape(name)}(_\d+)?", re.IGNORECASE)
    alike = [one for one in have if pattern.fullmatch(one)]
    if [one.lower() for one in alike] == [name.lower()]:
        return alike[0]
    if alike:
        raise UsageError(
            f"--param {parameter}={name}: {view} has {' and '.join(alike)} (columns that differ in "
            "case only are numbered); name one of them exactly"
        )
    raise UsageError(
        f"--param {parameter}={name}: {view} has no such column; it has {', '.join(have)}"
    )
