"""A DuckDB connection that can read one run's tables and nothing else on the machine."""

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.errors import UserError
from scanner.query.allowed_files import AllowedFiles
from scanner.query.calibrated import THRESHOLDS, Calibration
from scanner.query.clusters import create_macros
from scanner.query.constants import cast, constant
from scanner.query.database import REPAIR, Database, interruptible, repair_of
from scanner.query.definitions import create_table, create_view, rows_as_sql
from scanner.query.later_tables import LATER
from scanner.query.predicates import Predicate, binding_query, parse, renamed_columns
from scanner.query.quoting import identifier
from scanner.query.run_files import RunFiles
from scanner.query.statements import StatementChecker, execute_one
from scanner.query.views import (
    EXTENDED,
    FLAGGED,
    REFERENCES,
    TABLES,
    check_columns,
    ranking_views,
    scored_view,
)
from scanner.run import Run
from scanner.run.schema import REJECTS

_EMPTY = {"rejects": REJECTS, **LATER}
_DERIVED_VIEWS = (
    *("reference_captions", "scored", "ranking", "ranked", "sampled", "signals"),
    *("flagged", "thresholds", "decision_log"),
)
_SCHEMAS = ("main", "memory", "temp", "system", "pg_catalog", "information_schema")
_RESERVED = {*TABLES, *_DERIVED_VIEWS, *_SCHEMAS}


class RunTables:
    """The views of a sealed run: samples, captions, scores, rejects, verdicts, mitigated,
    sample_scores, image_clusters, ranked, signals, flagged, thresholds, decisions (what each
    reviewer states last about a caption) and reviewed (what they agree on), and for large runs
    texts, reference_captions, scored, ranking and sampled.

    ``ranked`` joins scores with captions, without reference captions. It adds ``rank_signal``, the
    signal to rank by; ``rank_value``, its value; and ``rank_score``, the value oriented so that
    higher means memorized (negated if lower does). With a calibration, the ranking signal is
    ``combination``, the logit of the ``probability`` of being memorized (else null), and
    ``thresholds`` (else empty) lists each signal's. ``signals`` has one row per caption and signal.
    Further runs' views are ``NAME.scores`` and so on.

    Most of the cost of ``ranked`` is counting samples. ``ranking`` omits text and n_samples, and
    lists the signals in ``by_signal``; ``scored`` is the same with reference captions; ``texts`` is
    captions without n_samples; ``sampled`` is a sample of about 100,000 of its rows.
    """

    def __init__(
        self,
        database: Database,
        url: str,
        schema: pa.Schema,
        sample: str,
        fingerprint: dict[str, Any],
        calibration: Calibration | None = None,
        timeout: float | None = None,
    ) -> None:
        self._database = database
        self._checker = StatementChecker(database.connection)
        self._timeout = timeout
        self.url = url
        self.schema = schema
        self._sample = sample
        self.fingerprint = fingerprint
        self.calibration = calibration

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """Return the connection that has the views."""
        return self._database.connection

    def rank_by(self, by: str | None = None, where: str = "true") -> str:
        """Set the ranking signal and the rows of ``ranked``; return the signal's name.

        ``by`` defaults to the calibration's combination, else to the first of
        scanner.query.views.PREFERRED that the run has, else to its first signal; ``where`` is a
        predicate over ranked. Raises UserError if either is invalid.
        """
        all_scored, by = scored_view("main", self.schema, by, self.calibration)
        views = ranking_views("main", all_scored, self._sample, where)
        if where != "true":
            self.parse_predicate(where, f"--where {where}")
            all_ranked = ranking_views("main", all_scored, self._sample)["ranked"]
            self.bind_predicate(where, all_ranked, f"--where {where}")
            self.query(f"SELECT * FROM ({views['ranked']}) LIMIT 0")
        for view, definition in views.items():
            self.define_view(view, definition)
        return by

    def reference_rank_scores(self, by: str | None = None) -> pa.ChunkedArray:
        """Return ``rank_score`` of the reference captions, which ``ranked`` excludes."""
        all_scored, _ = scored_view("main", self.schema, by, self.calibration)
        return self.query(
            f"SELECT rank_score::DOUBLE AS rank_score FROM ({all_scored}) "
            "SEMI JOIN reference_captions USING (caption_id)"
        )["rank_score"]

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """Return the result of one SELECT.

        Raises UserError if it is anything else, fails, or takes longer than the timeout.
        """
        statement = self._checker.parse_select(sql)
        cursor = self._read_only_cursor()

        def run() -> pa.Table:
            with cursor:
                return cursor.sql(statement, params=parameters or None).to_arrow_table()

        return interruptible(cursor, run, self._timeout)

    def batches(
        self, sql: str, rows: int, parameters: dict[str, Any] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the result of one SELECT in batches of at most ``rows``, in bounded memory."""
        statement = self._checker.parse_select(sql)
        cursor = self._read_only_cursor()

        def run() -> pa.RecordBatchReader:
            return cursor.sql(statement, params=parameters or None).to_arrow_reader(rows)

        reader = interruptible(cursor, run)
        while (batch := interruptible(cursor, lambda: next(reader, None))) is not None:
            yield batch

    def create_table(self, table: str, sql: str, parameters: dict[str, Any]) -> None:
        """Create or replace a table from the result of one SELECT. Raises UserError."""
        self._checker.parse_select(sql)
        statement = f"CREATE OR REPLACE TABLE {identifier(table)} AS {sql}"
        interruptible(self.connection, lambda: execute_one(self.connection, statement, parameters))

    def add_table(self, table: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Create or replace a table from Arrow data."""
        create_table(self.connection, f"main.{identifier(table)}", rows)

    def define_view(self, view: str, definition: str) -> None:
        """Create or replace a view from trusted SQL."""
        execute_one(self.connection, f"CREATE OR REPLACE VIEW {identifier(view)} AS {definition}")

    def parse_predicate(self, text: str, where: str) -> Predicate:
        """Parse a predicate. Raises UserError, starting with ``where``, unless the text is one
        read-only expression."""
        return parse(self._checker, text, where)

    def bind_predicate(self, text: str, view: str, where: str) -> None:
        """Raise UserError unless a parsed predicate is boolean over a view, given as SQL."""
        try:
            self.query(binding_query(text, view))
        except UserError as error:
            hint = renamed_columns(self.parse_predicate(text, where))
            raise UserError(f"{where}: {error}{hint}") from error

    def _read_only_cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for one query, in a read-only transaction."""
        cursor = self.connection.cursor()
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        return cursor


def open_run(
    url: str,
    others: dict[str, str] | None = None,
    calibration: Calibration | None = None,
    memory: int | None = None,
    timeout: float | None = None,
    manifest: dict[str, Any] | None = None,
) -> RunTables:
    """Connect to a sealed run, and to ``others`` by schema name.

    The connection can read only the files that the manifests and the verdicts' commits list. It
    cannot write, load extensions or change settings; :class:`scanner.query.database.Database`
    limits its resources, with ``memory`` in bytes. ``calibration`` applies to the run, not to the
    others. Queries stop after ``timeout`` seconds. ``manifest``: read in place of the run's own,
    for results that are not sealed. Raises UserError if a run is not sealed, or the calibration
    does not match the run.

    >>> from scanner import open_run
    >>> tables = open_run("memscan-demo/run-standard")
    >>> tables.query("SELECT caption FROM ranked ORDER BY rank_score DESC LIMIT 3").num_rows
    3
    """
    database = Database(memory)
    connection = database.connection
    fingerprint = (Run.existing(url).record() or {}).get("fingerprint", {})
    if calibration:
        calibration.check(fingerprint, url)
    allowed = AllowedFiles(connection)
    runs = {"main": RunFiles(allowed, url, manifest)}
    for name, other in (others or {}).items():
        _check_name(name, other)
        runs[name] = RunFiles(allowed, other)
    # Lock before DuckDB opens any file or sees any name that a file contains.
    database.lock(allowed.paths)
    schema, sample = _attach(connection, "main", runs.pop("main"), calibration)
    thresholds = calibration.thresholds_table() if calibration else THRESHOLDS.empty_table()
    create_view(connection, "main", "thresholds", constant(connection, thresholds))
    for name, files in runs.items():
        execute_one(connection, f"CREATE SCHEMA {identifier(name)}")
        _attach(connection, name, files)
    create_macros(connection)  # they use the views
    execute_one(connection, f"CREATE VIEW flagged AS {FLAGGED}")
    return RunTables(database, url, schema, sample, fingerprint, calibration, timeout)


def _check_name(name: str, url: str) -> None:
    """Raise UserError unless a schema can have this name; case does not matter."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name.lower() in _RESERVED:
        raise UserError(f"--with {name}={url}: {name!r} cannot name a run; choose a plain word")


def _attach(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    files: RunFiles,
    calibration: Calibration | None = None,
) -> tuple[pa.Schema, str]:
    """Create a run's views in the schema ``name``; return the scores' schema and the sample."""
    tables = dict(files.tables)
    log = f"{identifier(name)}.decision_log"
    tables["decisions"] = rows_as_sql(connection, log, files.decisions)
    for kind, schema in _EMPTY.items():
        written = files.tables.get(kind)
        union = f" UNION ALL BY NAME FROM {written}" if written else ""
        rows = f"{constant(connection, schema.empty_table())}{union}"
        tables[kind] = f"({cast(connection, schema, rows)})"
    where = f"{files.url}: {files.first_scores}"
    try:
        with files.store.open(files.first_scores) as file:
            schema = pq.read_schema(file)
    except FileNotFoundError as error:
        raise UserError(f"{where}: no such file{REPAIR}") from error
    except pa.ArrowException as error:
        raise UserError(f"{where}: not a Parquet file: {error}{REPAIR}") from error
    check_columns(schema, where)
    views = TABLES | {"reference_captions": EXTENDED if files.is_extended else REFERENCES}
    try:
        for view, definition in views.items():
            create_view(connection, name, view, definition.format(**tables))
        all_scored, _ = scored_view(name, schema, calibration=calibration)
        for view, definition in ranking_views(name, all_scored, files.sample).items():
            create_view(connection, name, view, definition)
    except duckdb.Error as error:
        remedy = repair_of(error)
        raise UserError(f"{files.url}: its tables cannot be read: {error}{remedy}") from error
    return schema, files.sample
