"""The removal list of a policy: every sample that it affects, with its action."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from scanner.curation.matching import Matching
from scanner.curation.narrowed_samples import OWN
from scanner.curation.row_captions import (
    deciding_captions,
    has_row_captions,
    with_other_captions,
)
from scanner.query import RunTables, identifier, library, text_cells
from scanner.run.schema import CAPTION_COLUMN, column
from scanner.storage import Store

PARQUET = "removal_list.parquet"
# For spreadsheets: the rows to remove, and those to recaption.
CSV, RECAPTION_CSV = "removal_list.csv", "recaption_list.csv"
REMOVED = ("drop", "cap")
ACTIONS = ("keep", *REMOVED, "recaption")
REJECTED = "rejected-by-planning"
BATCH_ROWS = 1 << 16
# As in sql/removal_list.sql: the prefix of renamed input columns, and its intermediate columns.
_KEPT = "kept_"
CAPTION, _SCANNED = "caption", "kept_scanned_caption"
_INNER = {
    *("_flag", "_image", "_shared", "_by", "_picture", "_group", "_of_group", "_clid", "_pixels"),
    *("_taken", "_place", "_kept", "_via", "_kept_of_via"),
}
_TYPES = {"row": pa.int64(), "reasons": pa.list_(pa.string()), "rule": pa.int32()}
_TYPES |= {"probability": pa.float64(), "score": pa.float64()}
# Rows that planning rejected in the training set, not in reference files.
_REJECTED = """
    SELECT source, "row", key FROM rejects
    WHERE stage = 'plan' AND source IS NOT NULL AND "row" IS NOT NULL
        AND NOT list_contains($references, source)"""
# A row may be rejected for one of its captions only.
_WITHOUT_SAMPLES = """
        AND (source, "row") NOT IN (SELECT (source, "row") FROM samples)
    GROUP BY ALL"""
_DROPPED = f"SELECT *, 'drop' AS action, ['{REJECTED}'] AS reasons FROM rejected"


def name_in_list(column: str) -> str:
    """Return the list's name for a column kept from the input.

    It is ``kept_NAME`` if the list already has a column NAME or if NAME starts with ``kept_``, else
    NAME.
    """
    lower = column.lower()
    reserved = lower in {*_own_columns(), *_INNER} or lower.startswith(_KEPT)
    return f"{_KEPT}{column}" if reserved else column


def list_removals(matching: Matching, references: list[str], others: str = "") -> None:
    """Create the tables listed and rejected.

    ``listed`` is the result of sql/removal_list.sql for the policy, sorted by source and row.
    ``rejected`` has the rows that planning rejected; a policy that drops them adds them to listed.
    ``references``: input files of reference captions; ``others``: SQL for further rows of listed,
    which no rule decides.
    """
    tables = matching.tables
    rejected = f"{_REJECTED}{_WITHOUT_SAMPLES if has_row_captions(tables) else ''}"
    tables.create_table("rejected", rejected, {"references": references})
    matching.flag()
    sql = f"SELECT * FROM ({_decided(tables)})"
    if matching.policy.rejects == "drop":
        sql += f" UNION ALL BY NAME {_DROPPED}"
    if others:
        sql += f" UNION ALL BY NAME {others}"
    tables.create_table("listed", f'{sql} ORDER BY source, "row", caption_id', {})


def _decided(tables: RunTables) -> str:
    """Return SQL for the rows that rules decide, by the view flagged."""
    sql = library()["removal_list"].sql
    if not has_row_captions(tables):
        return sql
    with deciding_captions(tables):
        tables.create_table("decided", f"SELECT * FROM ({sql})", {})
    return with_other_captions(columns_in_list(tables, "other_captions"))


def columns_in_list(tables: RunTables, table: str) -> str:
    """Return SQL for the columns of a table of samples, by their names in the list."""
    columns = tables.query("FROM samples LIMIT 0").column_names
    kept = [name for name in columns if name not in (*OWN, "is_reference")]
    renamed = [f"{identifier(name)} AS {identifier(name_in_list(name))}" for name in kept]
    return ", ".join([*map(identifier, OWN), *renamed])


def count_if_only_rule(matching: Matching, rule: int) -> dict[str, int]:
    """Count samples by action as if this rule were the only one."""
    matching.flag(rule)
    return _counts(matching.tables, f"({_decided(matching.tables)})")


def count_listed(tables: RunTables) -> dict[str, int]:
    """Count samples by action in the table listed, without rejected rows."""
    return _counts(tables, "(FROM listed WHERE caption_id IS NOT NULL)")


def write_list(
    tables: RunTables, store: Store, policy: str, fingerprint: str, csv_safe: bool
) -> None:
    """Write the table listed, in bounded memory, each file atomically.

    ``removal_list.parquet`` has all rows; ``removal_list.csv`` those that are removed, and
    ``recaption_list.csv``, if there are any, those to recaption, both with their captions.
    ``csv_safe``: escape all cells of the CSV files that a spreadsheet would run as formulas, not
    only captions.
    """
    schema = _schema(tables, policy, fingerprint)
    to_recaption = count_listed(tables)["recaption"]
    with tempfile.TemporaryDirectory() as folder:
        for name, actions in ((CSV, REMOVED), (RECAPTION_CSV, ("recaption",))):
            if name == CSV or to_recaption:
                path = Path(folder, name)
                _write_csv(tables, path, schema, actions, csv_safe)
                store.upload(path, name)
            elif store.exists(name):  # of an earlier list
                store.remove(name)
        parquet = Path(folder, PARQUET)
        with pq.ParquetWriter(parquet, schema, compression="zstd") as file:
            for table in _tables(tables, "FROM listed", schema):
                file.write_table(table)
        store.upload(parquet, PARQUET)


def _write_csv(
    tables: RunTables, path: Path, schema: pa.Schema, actions: tuple[str, ...], csv_safe: bool
) -> None:
    """Write the rows with these actions, with the captions that were scanned.

    A kept column "caption" is renamed kept_caption. Captions are for people, so they are escaped as
    ``csv_safe`` escapes all cells.
    """
    names = [f"{_KEPT}{name}" if name.lower() == CAPTION else name for name in schema.names]
    place = names.index("caption_id") + 1

    def with_captions(table: pa.Table, captions: pa.ChunkedArray) -> pa.Table:
        flat = _flat(table).rename_columns(names)
        shown = text_cells(pa.table({CAPTION: captions}))[CAPTION]
        flat = flat.add_column(place, CAPTION, shown)
        return text_cells(flat) if csv_safe else flat

    sql = f"""
        SELECT listed.*, texts.caption AS "{_SCANNED}"
        FROM listed LEFT JOIN texts USING (caption_id)
        WHERE list_contains($actions, action) ORDER BY source, "row", caption_id"""
    given = {"actions": list(actions)}
    scanned = schema.append(pa.field(_SCANNED, pa.string()))
    empty = with_captions(schema.empty_table(), pa.chunked_array([], pa.string()))
    with pyarrow.csv.CSVWriter(path, empty.schema) as file:
        for table in _tables(tables, sql, scanned, given):
            file.write_table(with_captions(table.select(schema.names), table[_SCANNED]))


def _tables(
    tables: RunTables, sql: str, schema: pa.Schema, parameters: dict[str, Any] | None = None
) -> Iterator[pa.Table]:
    policy = schema.metadata[b"policy"].decode()
    for batch in tables.batches(sql, BATCH_ROWS, parameters):
        table = pa.table(batch)
        table = table.append_column("policy", pa.repeat(policy, len(table)))
        yield table.select(schema.names).cast(schema)


def _schema(tables: RunTables, policy: str, fingerprint: str) -> pa.Schema:
    """Return the list's columns with their descriptions; those that identify the sample first."""
    names = [*tables.query("FROM listed LIMIT 0").column_names, "policy"]
    about = {name: f"the input's column {name.removeprefix(_KEPT)}, as text" for name in names}
    about[CAPTION_COLUMN.name] = "the input's column with the caption"
    about |= _own_columns()
    fields = [column(name, _TYPES.get(name, pa.string()), about[name]) for name in names]
    return pa.schema(fields, metadata={"policy": policy, "run_fingerprint": fingerprint})


@cache
def _own_columns() -> dict[str, str]:
    """Return the columns that every list has, with their descriptions."""
    return library()["removal_list"].columns | {"policy": "the policy's name, version and hash"}


def _flat(table: pa.Table) -> pa.Table:
    """Join the reasons with semicolons, for CSV."""
    index = table.column_names.index("reasons")
    joined = pc.binary_join(table["reasons"], ";")
    return table.set_column(index, "reasons", joined).replace_schema_metadata(None)


def _counts(tables: RunTables, source: str) -> dict[str, int]:
    rows = tables.query(f"SELECT action, count(*) AS n FROM {source} GROUP BY action")
    counts = dict(zip(rows["action"].to_pylist(), rows["n"].to_pylist(), strict=True))
    return {action: counts.get(action, 0) for action in ACTIONS}
