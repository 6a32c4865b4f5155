"""A DuckDB connection that sees one run's tables, and nothing else of the machine."""

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.cores import usable_cores
from scanner.errors import UserError
from scanner.query.calibrated import THRESHOLDS, Calibration
from scanner.query.clusters import create_macros
from scanner.query.sources import Sources
from scanner.query.views import EXTENDED, FLAGGED, REFERENCES, TABLES, deciding, scored
from scanner.run import Run
from scanner.run.schema import REJECTS
from scanner.run.verdicts import MITIGATED, MITIGATED_FOLDER, VERDICTS, verdict_parts
from scanner.storage import Store

_EMPTY = {"rejects": REJECTS, "verdicts": VERDICTS, "mitigated": MITIGATED}
_OWN = (
    *("reference_captions", "scored", "decisions", "ranked", "sampled", "signals"),
    *("flagged", "thresholds"),
)
_TAKEN = (*_OWN, "main", "temp", "system", "pg_catalog", "information_schema")


class RunTables:
    """The views of a sealed run: samples, captions, scores, rejects, verdicts, mitigated, ranked,
    signals, flagged, thresholds, and for large runs texts, reference_captions, scored,
    decisions and sampled.

    ``ranked`` is scores joined with captions, reference captions left out, with
    ``decision_signal``, the name of the signal that decides, ``decision_value``, and ``decision``,
    the same with its sign turned where lower means memorized. With a calibration, ``probability``
    (else null) is that of being memorized, its logit, ``combination``, decides, and ``thresholds``
    (else empty) says from where on a signal flags. ``signals`` holds each signal of ``ranked`` in a
    row of its own. The views of further runs are ``NAME.scores`` and so on.

    Counting samples is most of the cost of ``ranked``: ``decisions`` is the same without text and
    n_samples, with its signals in the list ``by_signal``, and ``scored`` the same with reference
    captions; ``texts`` is captions without n_samples; ``sampled``, about 100,000 of the decisions.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        url: str,
        schema: pa.Schema,
        rows: int,
        fingerprint: dict[str, Any],
        calibration: Calibration | None = None,
    ) -> None:
        self.connection = connection
        self.url = url
        self.schema = schema
        self.rows = rows
        self.fingerprint = fingerprint
        self.calibration = calibration

    def decide(self, by: str | None = None, where: str = "true") -> str:
        """Choose the decision signal of ``ranked``, and keep only rows of a predicate; its name.

        By default the calibrated combination where there is one, else the first of
        scanner.query.views.PREFERRED that the run has, else its first signal, and all rows. Raises
        UserError where ``by`` is no number column, or the predicate no expression over ranked.
        """
        all_scored, by = scored("main", self.schema, by, self.calibration)
        views = deciding("main", all_scored, self.rows, where)
        if where != "true":
            self.query(f"SELECT * FROM ({views['ranked']}) LIMIT 0")
        for view, definition in views.items():
            self.connection.execute(f"CREATE OR REPLACE VIEW {view} AS {definition}")
        return by

    def reference_decisions(self, by: str | None = None) -> pa.ChunkedArray:
        """The decisions, as in ``ranked``, of the reference captions that it leaves out."""
        all_scored, _ = scored("main", self.schema, by, self.calibration)
        return self.query(
            f"SELECT decision::DOUBLE AS decision FROM ({all_scored}) "
            "SEMI JOIN reference_captions USING (caption_id)"
        )["decision"]

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The result of one SELECT. Raises UserError for anything else, and for a wrong one."""
        statement = self.one_select(sql)
        try:
            result = self.connection.cursor().sql(statement, params=parameters or None)
            return result.to_arrow_table()
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error

    def batches(
        self, sql: str, rows: int, parameters: dict[str, Any] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The result of one SELECT, at most ``rows`` at a time; for results of any size."""
        statement = self.one_select(sql)
        try:
            result = self.connection.cursor().sql(statement, params=parameters or None)
            yield from result.to_arrow_reader(rows)
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error

    def materialize(self, table: str, sql: str, parameters: dict[str, Any]) -> None:
        """Keep the result of one SELECT as a table that later queries see. Raises UserError."""
        try:
            statement = f'CREATE OR REPLACE TABLE "{table}" AS {self.one_select(sql)}'
            self.connection.execute(statement, parameters)
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error

    def keep(self, table: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Keep Arrow data as a table that later queries see."""
        _add_table(self.connection, table, rows)

    def one_select(self, sql: str) -> str:
        """The statement, if it is exactly one SELECT."""
        try:
            statements = self.connection.extract_statements(sql)
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error
        kinds = [statement.type.name for statement in statements]
        if kinds != ["SELECT"]:
            found = ", ".join(kinds) or "nothing"
            raise UserError(f"SQL: exactly one SELECT is allowed here; found {found}")
        return sql


def open_run(
    url: str,
    others: dict[str, str] | None = None,
    calibration: Calibration | None = None,
    memory: int | None = None,
) -> RunTables:
    """Connect to a sealed run, and to others by the name that their views get.

    The connection reads the files that the manifests and the verdicts' commits list and no other;
    it cannot write, load extensions or change its settings. The calibration is the run's, not the
    others'. Beyond ``memory`` bytes (by default most of the machine's) queries use temporary files.
    Raises UserError where there is no sealed run, or the calibration was made for runs of
    another kind.
    """
    connection = duckdb.connect()
    fingerprint = (Run.existing(url).record() or {}).get("fingerprint", {})
    if calibration:
        calibration.check(fingerprint, url)
    sources = Sources(connection)
    schema, rows = _attach(connection, sources, "main", url, calibration)
    thresholds = calibration.thresholds_table() if calibration else THRESHOLDS.empty_table()
    _add_table(connection, "thresholds", thresholds)
    for name, other in (others or {}).items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in TABLES or name in _TAKEN:
            raise UserError(
                f"--with {name}={other}: {name!r} cannot name a run; choose a plain word"
            )
        connection.execute(f'CREATE SCHEMA "{name}"')
        _attach(connection, sources, name, other)
    create_macros(connection)  # of the views, so after them
    connection.execute(f"CREATE VIEW flagged AS {FLAGGED}")
    connection.execute("SET allowed_paths = $files", {"files": sources.paths})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET threads = $n", {"n": usable_cores()})
    if memory:
        connection.execute("SET memory_limit = $limit", {"limit": f"{memory} B"})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET lock_configuration = true")
    return RunTables(connection, url, schema, rows, fingerprint, calibration)


def _attach(
    connection: duckdb.DuckDBPyConnection,
    sources: Sources,
    name: str,
    url: str,
    calibration: Calibration | None = None,
) -> tuple[pa.Schema, int]:
    """Create a run's views in the schema ``name``; return the scores' schema and row count."""
    run = Run.existing(url)
    manifest = run.manifest()
    if manifest is None:
        raise UserError(
            f"{url}: this run is not sealed yet; memscan status {url} says how far it is, and the "
            "same memscan scan command finishes it"
        )
    if not manifest["scores"]:
        raise UserError(f"{url}: this run has no scores; memscan status {url} says why")
    files = {
        "samples": manifest["samples"],
        "captions": manifest["captions"],
        "scores": [part["path"] for part in manifest["scores"]],
        "rejects": manifest["rejects"],
        "verdicts": verdict_parts(run.store),
        "mitigated": verdict_parts(run.store, MITIGATED_FOLDER),
    }
    extended = run.store.exists("plan-0002.json")
    tables = {
        kind: _rows(connection, sources, run.store, kind, names, extended)
        for kind, names in files.items()
    }
    with run.store.open(files["scores"][0]) as file:
        schema = pq.read_schema(file)
    rows = sum(part["rows"] for part in manifest["scores"])
    views = TABLES | {"reference_captions": EXTENDED if extended else REFERENCES}
    try:
        for view, definition in views.items():
            _create_view(connection, name, view, definition.format(**tables))
    except duckdb.Error as error:
        raise UserError(f"{url}: its tables cannot be read: {error}") from error
    all_scored, _ = scored(name, schema, calibration=calibration)
    for view, definition in deciding(name, all_scored, rows).items():
        _create_view(connection, name, view, definition)
    return schema, rows


def _create_view(
    connection: duckdb.DuckDBPyConnection, name: str, view: str, definition: str
) -> None:
    connection.execute(f'CREATE VIEW "{name}".{view} AS {definition}')


def _rows(
    connection: duckdb.DuckDBPyConnection,
    sources: Sources,
    store: Store,
    kind: str,
    names: list[str],
    extended: bool,
) -> str:
    """Return SQL for the rows of a run's table.

    An extension may keep other columns of its samples, and a release judge by other measures.
    """
    varying = kind in ("verdicts", "mitigated") or (kind == "samples" and extended)
    written = sources.parquet(store, names, same_columns=not varying) if names else ""
    if kind not in _EMPTY:
        assert names, f"a sealed run has {kind}"
        return written
    _add_table(connection, f"no_{kind}", _EMPTY[kind].empty_table())
    return f"(FROM main.no_{kind} UNION ALL BY NAME FROM {written})" if names else f"main.no_{kind}"


def _add_table(
    connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table | pa.RecordBatchReader
) -> None:
    connection.register("given", rows)
    connection.execute(f'CREATE OR REPLACE TABLE main."{name}" AS FROM given')
    connection.unregister("given")
