"""A DuckDB connection that sees one run's tables, and nothing else of the machine."""

import os
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.errors import UserError
from scanner.run import Run
from scanner.run.schema import REJECTS

# Text from outside the program reaches DuckDB as bound parameters only. File names are ours, and
# quoted, since a view's definition takes no parameters.
_VIEWS = {
    "captions": """
        SELECT captions.*, coalesce(counted.n_samples, 0) AS n_samples
        FROM {captions} AS captions
        LEFT JOIN (
            SELECT caption_id, count(*) FILTER (NOT is_reference) AS n_samples
            FROM {samples} GROUP BY caption_id
        ) AS counted USING (caption_id)""",
    "samples": "FROM {samples}",
    "scores": "FROM {scores}",
    "rejects": "FROM {rejects}",
}
PREFERRED = ("noise_norm_first", "entropy_e")


class RunTables:
    """The views samples, captions, scores, rejects and ranked of a sealed run.

    ``ranked`` is scores joined with captions, reference captions left out, with ``decision``: the
    value of the decision signal, its sign turned where lower means memorized, and
    ``decision_signal``, its name.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: pa.Schema) -> None:
        self.connection = connection
        self.schema = schema
        self.decide()

    def decide(self, by: str | None = None, where: str = "true") -> str:
        """Choose the decision signal of ``ranked``, and keep only rows of a predicate; its name.

        By default noise_norm_first where the run has it, else entropy_e, and all rows. Raises
        UserError where ``by`` is no number column, or the predicate no expression over ranked.
        """
        by = by or next(name for name in PREFERRED if name in self.schema.names)
        field = self.schema.field(by) if by in self.schema.names else None
        if field is None or not pa.types.is_floating(field.type):
            numbers = [f.name for f in self.schema if pa.types.is_floating(f.type)]
            raise UserError(f"{by}: no signal of this run to rank by; it has {', '.join(numbers)}")
        sign = -1 if (field.metadata or {}).get(b"memorized") == b"lower" else 1
        # The column name comes from our own schema; the predicate must make one SELECT.
        view = f"""
            SELECT scores.*, captions.caption, captions.canonical, captions.n_samples,
                   {sign} * scores."{by}" AS decision, '{by}' AS decision_signal
            FROM scores JOIN captions USING (caption_id) WHERE NOT captions.is_reference"""
        if where != "true":
            view = f"SELECT * FROM ({view}\n) WHERE ({where}\n)"
            self.query(f"SELECT * FROM ({view}) LIMIT 0")
        self.connection.execute(f"CREATE OR REPLACE VIEW ranked AS {view}")
        return by

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The result of one SELECT. Raises UserError for anything else, and for a wrong one."""
        statement = self.one_select(sql)
        try:
            result = self.connection.cursor().sql(statement, params=parameters or None)
            return result.to_arrow_table()
        except duckdb.Error as error:
            raise UserError(f"SQL: {error}") from error

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


def open_run(url: str) -> RunTables:
    """Connect to a sealed run.

    The connection reads the files that the manifest lists and no other; it cannot write, load
    extensions or change its settings. Raises UserError where there is no sealed run.
    """
    run = Run.existing(url)
    manifest = run.manifest()
    if manifest is None:
        raise UserError(
            f"{url}: this run is not sealed yet; memscan status {url} says how far it is, and the "
            "same memscan scan command finishes it"
        )
    if not manifest["scores"]:
        raise UserError(f"{url}: this run has no scores; memscan status {url} says why")
    connection = duckdb.connect()
    if run.store.is_remote:
        connection.register_filesystem(run.store.filesystem)
    files = {
        "samples": manifest["samples"],
        "captions": manifest["captions"],
        "scores": [part["path"] for part in manifest["scores"]],
        "rejects": manifest["rejects"],
    }
    places = {kind: [run.store.location(name) for name in names] for kind, names in files.items()}
    sources = {kind: _source(connection, kind, names) for kind, names in places.items()}
    for name, definition in _VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {definition.format(**sources)}")
    connection.execute(
        "SET allowed_paths = $files",
        {"files": [name for names in places.values() for name in names]},
    )
    connection.execute("SET threads = $n", {"n": os.cpu_count() or 1})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET lock_configuration = true")
    with run.store.open(files["scores"][0]) as file:
        schema = pq.read_schema(file)
    return RunTables(connection, schema)


def _source(connection: duckdb.DuckDBPyConnection, kind: str, names: list[str]) -> str:
    if names:
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
        return f"read_parquet([{quoted}])"
    assert kind == "rejects", f"a sealed run has {kind}"
    connection.register("empty", REJECTS.empty_table())
    connection.execute("CREATE TABLE no_rejects AS FROM empty")
    connection.unregister("empty")
    return "no_rejects"
