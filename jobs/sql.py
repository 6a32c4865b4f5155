"""Query a run with SQL.

The query must be one SELECT over the views samples, captions, scores, rejects, ranked, signals,
thresholds, flagged, verdicts, mitigated, sample_scores, image_clusters, decisions and reviewed.

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

from jobs.console.calibrations import named_calibration
from jobs.console.list_options import OPTIONAL_WITH
from jobs.console.options import pairs
from jobs.console.tables import TableOptions
from jobs.console.terminal import command
from scanner.errors import UsageError, UserError

log = logging.getLogger("memscan")


@dataclass(frozen=True)
class SqlConfig(TableOptions):
    """Run, query and output format."""

    run: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(help_behavior_hint="(required, except with --list)"),
    ] = field(default="", metadata={OPTIONAL_WITH: ("list",)})
    """The run's directory or URL."""
    query: Annotated[str, tyro.conf.Positional] = field(
        default="", metadata={OPTIONAL_WITH: ("list", "name", "file")}
    )
    """One SELECT in DuckDB's SQL dialect."""
    file: Path | None = None
    """File that contains the SELECT."""
    name: str | None = None
    """Named query to run, for example rank; --list shows all."""
    param: tuple[str, ...] = ()
    """Query parameter, for example top=5; repeat the option, or list several."""
    list: bool = False
    """List the named queries with their purpose and parameters."""
    calibration: str | None = None
    """Calibration that fills ranked.probability and the view thresholds: a file or URL written by
    memscan calibrate, or testbed."""
    timeout: float | None = None
    """Stop the query after this many seconds. Default: no limit."""
    with_: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Attach another run: name=RUN adds the views name.scores, name.captions and so on; repeat the
    option, or list several."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SqlConfig, "sql", __doc__, _sql, arguments)


def _sql(config: SqlConfig) -> int:
    table = _library_table() if config.list else _answer(config)
    config.write(table)
    return 0


def _answer(config: SqlConfig) -> pa.Table:
    from scanner.query import empty_tables, library, open_run, run_named_query

    if not config.run:
        raise UsageError('RUN is missing; use memscan sql RUN "SELECT …"')
    if sum(map(bool, (config.query, config.file, config.name))) != 1:
        raise UsageError("give exactly one query: a SELECT, --file FILE or --name NAME")
    if config.timeout is not None and not 0 < config.timeout < threading.TIMEOUT_MAX:
        raise UsageError(f"--timeout {config.timeout:g}: must be a number of seconds above 0")
    parameters = pairs("--param", config.param)
    others = pairs("--with", config.with_)
    calibration = named_calibration(config.calibration)
    if config.name:
        known = library()
        if config.name not in known:
            raise UsageError(f"--name {config.name}: no such query; valid: {', '.join(known)}")
        query = known[config.name]
        if "other." in query.sql and "other" not in others:
            raise UsageError(
                f"--name {config.name}: compares two runs; add the other as --with other=RUN"
            )
        query.bind(parameters)  # fails before the run is opened
        tables = open_run(config.run, others, calibration, timeout=config.timeout)
        return run_named_query(tables, query, parameters)
    sql = config.query
    if config.file:
        try:
            sql = config.file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--file {config.file}: cannot be read: {error}") from error
    tables = open_run(config.run, others, calibration, timeout=config.timeout)
    rows = tables.query(sql, parameters)
    if not len(rows):
        for name, remedy in empty_tables(tables, sql).items():
            log.info(f"this run has no {name}: {remedy}")
    return rows


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
