"""Ask a run one SELECT over its views: samples, captions, scores, rejects, ranked, signals,
verdicts, mitigated, thresholds and flagged.

Examples: memscan sql RUN "SELECT count(*) FROM scores WHERE truncated"
          memscan sql RUN --name rank --param top=5 --param min_samples=2
          memscan sql --list
"""

import logging
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import tyro

from jobs.calibrations import named_calibration
from jobs.list_options import OMITTED_BESIDE
from jobs.options import pairs
from jobs.tables import Written
from jobs.terminal import command
from scanner.errors import UsageError, UserError

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class SqlConfig(Written):
    """Which run, which question, which form."""

    run: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="(required, but for --list)")
    ] = field(default="", metadata={OMITTED_BESIDE: ("list",)})
    """The run's directory or URL."""
    query: Annotated[str, tyro.conf.Positional] = field(
        default="", metadata={OMITTED_BESIDE: ("list", "name", "file")}
    )
    """Exactly one SELECT, in DuckDB's SQL."""
    file: Path | None = None
    """Read the SELECT from a file."""
    name: str | None = None
    """Run a query of the library (see --list)."""
    param: tuple[str, ...] = ()
    """A value for one of the query's parameters, as name=value; repeat it, or list several."""
    list: bool = False
    """List the library's queries: purpose, parameters with defaults."""
    calibration: str | None = None
    """Fill ranked.probability and the view thresholds by this calibration (a file of memscan
    calibrate, or testbed)."""
    timeout: float | None = None
    """Stop a query after this many seconds; by default it may take any time."""
    with_: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Attach another run: name=RUN gives the views name.scores, name.captions and so on; repeat
    it, or list several."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SqlConfig, "sql", __doc__, _sql, arguments)


def _sql(config: SqlConfig) -> int:
    table = _library_table() if config.list else _answer(config)
    config.write(table)
    return 0


def _answer(config: SqlConfig) -> pa.Table:
    from scanner.query import ask, empty_tables, library, open_run

    if not config.run:
        raise UsageError('name a run: memscan sql RUN "SELECT …"')
    asked = [config.query, config.file, config.name]
    if sum(bool(way) for way in asked) != 1:
        raise UsageError("ask one question: a SELECT, --file FILE or --name NAME")
    if config.timeout is not None and not 0 < config.timeout < threading.TIMEOUT_MAX:
        raise UsageError(f"--timeout {config.timeout:g}: must be a number of seconds above 0")
    parameters = pairs("--param", config.param)
    others = pairs("--with", config.with_)
    calibration = named_calibration(config.calibration)
    if config.name:
        known = library()
        if config.name not in known:
            raise UsageError(f"--name {config.name}: no such query; there are {', '.join(known)}")
        query = known[config.name]
        if "other." in query.sql and "other" not in others:
            raise UsageError(f"--name {config.name}: asks another run too; --with other=RUN")
        query.bind(parameters)  # before the run is opened
        tables = open_run(config.run, others, calibration, timeout=config.timeout)
        return ask(tables, query, parameters)
    sql = config.query
    if config.file:
        try:
            sql = config.file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--file {config.file}: cannot be read: {error}") from error
    tables = open_run(config.run, others, calibration, timeout=config.timeout)
    found = tables.query(sql, parameters)
    if not len(found):
        for name, remedy in empty_tables(tables, sql).items():
            log.info(f"this run has no {name}: {remedy}")
    return found


def _library_table() -> pa.Table:
    from scanner.query import library

    return pa.table(
        {
            "name": [query.name for query in library().values()],
            "purpose": [query.purpose for query in library().values()],
            "parameters": [
                ", ".join(
                    f"{name}={'…' if value is None else value}"
                    for name, value in query.parameters.items()
                )
                for query in library().values()
            ],
        }
    )


if __name__ == "__main__":
    sys.exit(main())
