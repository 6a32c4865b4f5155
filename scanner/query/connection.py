"""A DuckDB connection that sees one run's tables, and nothing else of the machine."""

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.errors import UserError
from scanner.query.bounded import Bounded, interruptible
from scanner.query.calibrated import THRESHOLDS, Calibration
from scanner.query.clusters import create_macros
from scanner.query.constants import cast, constant
from scanner.query.predicates import Predicate, binding, parse
from scanner.query.quoting import identifier
from scanner.query.sources import Sources
from scanner.query.statements import Reader, run_one
from scanner.query.views import (
    EXTENDED,
    FLAGGED,
    REFERENCES,
    TABLES,
    check_columns,
    deciding,
    scored,
)
from scanner.run import Run
from scanner.run.schema import REJECTS
from scanner.run.verdicts import MITIGATED, MITIGATED_FOLDER, VERDICTS, verdict_parts

_EMPTY = {"rejects": REJECTS, "verdicts": VERDICTS, "mitigated": MITIGATED}
_OWN = (
    *("reference_captions", "scored", "decisions", "ranked", "sampled", "signals"),
    *("flagged", "thresholds"),
)
_TAKEN = (*_OWN, "main", "memory", "temp", "system", "pg_catalog", "information_schema")


class RunTables:
    """The views of a sealed run: samples, captions, scores, rejects, verdicts, mitigated, ranked,
    signals, flagged, thresholds, and for large runs texts, reference_captions, scored,
    decisions and sampled.

    ``ranked`` is scores joined with captions, reference captions left out, with
    ``decision_signal``, the name of the signal that decides, ``decision_value``, and ``decision``,
    the same, negated if lower means memorized. With a calibration, ``probability``
    (else null) is that of being memorized, its logit, ``combination``, decides, and ``thresholds``
    (else empty) says from where on a signal flags. ``signals`` holds each signal of ``ranked`` in a
    row of its own. The views of further runs are ``NAME.scores`` and so on.

    Counting samples is most of the cost of ``ranked``: ``decisions`` is the same without text and
    n_samples, with its signals in the list ``by_signal``, and ``scored`` the same with reference
    captions; ``texts`` is captions without n_samples; ``sampled``, about 100,000 of the decisions.
    """

    def __init__(
        self,
        database: Bounded,
        url: str,
        schema: pa.Schema,
        rows: int,
        fingerprint: dict[str, Any],
        calibration: Calibration | None = None,
        timeout: float | None = None,
    ) -> None:
        self._database = database
        self._reader = Reader(database.connection)
        self._timeout = timeout
        self.url = url
        self.schema = schema
        self.rows = rows
        self.fingerprint = fingerprint
        self.calibration = calibration

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection that the views are made on."""
        return self._database.connection

    def decide(self, by: str | None = None, where: str = "true") -> str:
        """Choose the decision signal of ``ranked``, and keep only rows of a predicate; its name.

        By default the calibrated combination where there is one, else the first of
        scanner.query.views.PREFERRED that the run has, else its first signal, and all rows. Raises
        UserError where ``by`` is no number column, or the predicate no expression over ranked.
        """
        all_scored, by = scored("main", self.schema, by, self.calibration)
        views = deciding("main", all_scored, self.rows, where)
        if where != "true":
            self.parse_predicate(where, f"--where {where}")
            every = deciding("main", all_scored, self.rows)["ranked"]
            self.bind_predicate(where, every, f"--where {where}")
            self.query(f"SELECT * FROM ({views['ranked']}) LIMIT 0")
        for view, definition in views.items():
            self.define(view, definition)
        return by

    def reference_decisions(self, by: str | None = None) -> pa.ChunkedArray:
        """The decisions, as in ``ranked``, of the reference captions that it leaves out."""
        all_scored, _ = scored("main", self.schema, by, self.calibration)
        return self.query(
            f"SELECT decision::DOUBLE AS decision FROM ({all_scored}) "
            "SEMI JOIN reference_captions USING (caption_id)"
        )["decision"]

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The result of one SELECT. Raises UserError for anything else, for a wrong one, and for
        one that takes longer than the timeout."""
        statement = self._reader.select(sql)
        cursor = self._reading()

        def ask() -> pa.Table:
            with cursor:
                return cursor.sql(statement, params=parameters or None).to_arrow_table()

        return interruptible(cursor, ask, self._timeout)

    def batches(
        self, sql: str, rows: int, parameters: dict[str, Any] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The result of one SELECT, at most ``rows`` at a time; for results of any size."""
        statement = self._reader.select(sql)
        cursor = self._reading()

        def ask() -> pa.RecordBatchReader:
            return cursor.sql(statement, params=parameters or None).to_arrow_reader(rows)

        reader = interruptible(cursor, ask)
        while (batch := interruptible(cursor, lambda: next(reader, None))) is not None:
            yield batch

    def materialize(self, table: str, sql: str, parameters: dict[str, Any]) -> None:
        """Keep the result of one SELECT as a table that later queries see. Raises UserError."""
        self._reader.select(sql)
        statement = f"CREATE OR REPLACE TABLE {identifier(table)} AS {sql}"
        interruptible(self.connection, lambda: run_one(self.connection, statement, parameters))

    def keep(self, table: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Keep Arrow data as a table that later queries see."""
        self.connection.register("given", rows)
        statement = f"CREATE OR REPLACE TABLE main.{identifier(table)} AS FROM given"
        run_one(self.connection, statement)
        self.connection.unregister("given")

    def define(self, view: str, definition: str) -> None:
        """Make a view that later queries see, or replace it, by SQL of ours."""
        run_one(self.connection, f"CREATE OR REPLACE VIEW {identifier(view)} AS {definition}")

    def parse_predicate(self, text: str, where: str) -> Predicate:
        """What a predicate reads. Raises UserError, beginning with ``where``, for a text that is
        anything else than one expression of one column that only reads."""
        return parse(self._reader, text, where)

    def bind_predicate(self, text: str, view: str, where: str) -> None:
        """Raises UserError unless a predicate that was parsed holds or not for each row of a view,
        given as SQL."""
        try:
            self.query(binding(text, view))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    def _reading(self) -> duckdb.DuckDBPyConnection:
        """A connection for one query, in a transaction in which DuckDB itself refuses to write."""
        cursor = self.connection.cursor()
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        return cursor


def open_run(
    url: str,
    others: dict[str, str] | None = None,
    calibration: Calibration | None = None,
    memory: int | None = None,
    timeout: float | None = None,
) -> RunTables:
    """Connect to a sealed run, and to others by the name that their views get.

    The connection reads the files that the manifests and the verdicts' commits list and no other;
    it cannot write, load extensions or change its settings, and uses no more of the machine than
    :class:`scanner.query.bounded.Bounded` says, with ``memory`` bytes. The calibration is the
    run's, not the others'. A query of more than ``timeout`` seconds is stopped. Raises UserError
    where there is no sealed run, or the calibration was made for runs of another kind.

    >>> from scanner import open_run
    >>> tables = open_run("memscan-demo/run-standard")
    >>> tables.query("SELECT caption, decision FROM ranked ORDER BY decision DESC LIMIT 3").num_rows
    3
    """
    database = Bounded(memory)
    connection = database.connection
    fingerprint = (Run.existing(url).record() or {}).get("fingerprint", {})
    if calibration:
        calibration.check(fingerprint, url)
    sources = Sources(connection)
    runs = {"main": _Files(sources, url)}
    for name, other in (others or {}).items():
        _check_name(name, other)
        runs[name] = _Files(sources, other)
    # Nothing of a file is read, nor a name of it spoken, before.
    database.lock(sources.paths)
    schema, rows = _attach(connection, "main", runs.pop("main"), calibration)
    thresholds = calibration.thresholds_table() if calibration else THRESHOLDS.empty_table()
    _create_view(connection, "main", "thresholds", constant(connection, thresholds))
    for name, files in runs.items():
        run_one(connection, f"CREATE SCHEMA {identifier(name)}")
        _attach(connection, name, files)
    create_macros(connection)  # of the views, so after them
    run_one(connection, f"CREATE VIEW flagged AS {FLAGGED}")
    return RunTables(database, url, schema, rows, fingerprint, calibration, timeout)


def _check_name(name: str, url: str) -> None:
    """Names of schemas mean the same in any case."""
    taken = {*TABLES, *_TAKEN}
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name.lower() in taken:
        raise UserError(f"--with {name}={url}: {name!r} cannot name a run; choose a plain word")


class _Files:
    """The files of a sealed run, as SQL by table, none of them opened. Raises UserError."""

    def __init__(self, sources: Sources, url: str) -> None:
        run = Run.existing(url)
        manifest = run.manifest()
        if manifest is None:
            raise UserError(
                f"{url}: this run is not sealed yet; memscan status {url} says how far it is, and "
                "the same memscan scan command finishes it"
            )
        if not manifest["scores"]:
            raise UserError(f"{url}: this run has no scores; memscan status {url} says why")
        for kind in ("samples", "captions"):
            if not manifest[kind]:
                raise UserError(f"{url}: this run's manifest lists no {kind}; seal the run anew")
        names = {
            "samples": manifest["samples"],
            "captions": manifest["captions"],
            "scores": [part["path"] for part in manifest["scores"]],
            "rejects": manifest["rejects"],
            "verdicts": verdict_parts(run.store),
            "mitigated": verdict_parts(run.store, MITIGATED_FOLDER),
        }
        self.url = url
        self.store = run.store
        self.first_scores = names["scores"][0]
        self.rows = sum(part["rows"] for part in manifest["scores"])
        self.is_extended = run.store.exists("plan-0002.json")
        # An extension may keep other columns of its samples, and a release judge by other measures.
        varying = {"verdicts", "mitigated"} | ({"samples"} if self.is_extended else set())
        self.tables = {
            kind: sources.parquet(run.store, listed, same_columns=kind not in varying)
            for kind, listed in names.items()
            if listed
        }


def _attach(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    files: _Files,
    calibration: Calibration | None = None,
) -> tuple[pa.Schema, int]:
    """Create a run's views in the schema ``name``; return the scores' schema and row count."""
    tables = dict(files.tables)
    for kind, schema in _EMPTY.items():
        written = files.tables.get(kind)
        more = f" UNION ALL BY NAME FROM {written}" if written else ""
        rows = f"{constant(connection, schema.empty_table())}{more}"
        tables[kind] = f"({cast(connection, schema, rows)})"
    where = f"{files.url}: {files.first_scores}"
    try:
        with files.store.open(files.first_scores) as file:
            schema = pq.read_schema(file)
    except pa.ArrowException as error:
        raise UserError(f"{where}: not a Parquet file: {error}; scan again") from error
    check_columns(schema, where)
    views = TABLES | {"reference_captions": EXTENDED if files.is_extended else REFERENCES}
    try:
        for view, definition in views.items():
            _create_view(connection, name, view, definition.format(**tables))
        all_scored, _ = scored(name, schema, calibration=calibration)
        for view, definition in deciding(name, all_scored, files.rows).items():
            _create_view(connection, name, view, definition)
    except duckdb.Error as error:
        raise UserError(f"{files.url}: its tables cannot be read: {error}") from error
    return schema, files.rows


def _create_view(
    connection: duckdb.DuckDBPyConnection, name: str, view: str, definition: str
) -> None:
    run_one(connection, f"CREATE VIEW {identifier(name)}.{identifier(view)} AS {definition}")
