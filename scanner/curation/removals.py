"""The removal list of a policy: every sample that it touches, and what becomes of it."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from scanner.curation.matching import Matching
from scanner.query import RunTables, library, text_cells
from scanner.run.schema import column
from scanner.storage import Store

PARQUET = "removal_list.parquet"
CSV = "removal_list.csv"
REMOVED = ("drop", "cap")
REJECTED = "rejected-by-planning"
BATCH_ROWS = 1 << 16
# As sql/removal_list.sql renames them: the list's own columns, and what its steps are called.
_KEPT = "kept_"
_INNER = {"_flag", "_image", "_along", "_by"}
_TYPES = {"row": pa.int64(), "reasons": pa.list_(pa.string()), "rule": pa.int32()}
_TYPES |= {"probability": pa.float64(), "score": pa.float64()}
# Rows without a caption have no rule; references are in no training set.
_REJECTED = """
    SELECT source, "row", key FROM rejects
    WHERE stage = 'plan' AND source IS NOT NULL AND "row" IS NOT NULL
        AND NOT list_contains($references, source)"""
_DROPPED = f"SELECT *, 'drop' AS action, ['{REJECTED}'] AS reasons FROM rejected"


def name_in_list(kept: str) -> str:
    """What the list calls a column that the scan kept of the input: ``kept_NAME`` where the list
    has a column NAME of its own, or where NAME begins with ``kept_`` itself; else NAME."""
    low = kept.lower()
    taken = low in {*_own_columns(), *_INNER} or low.startswith(_KEPT)
    return f"{_KEPT}{kept}" if taken else kept


def list_removals(matching: Matching, references: list[str]) -> None:
    """Make the table listed: sql/removal_list.sql by the policy, sorted by source and row; and
    rejected, the rows that planning rejected, which listed has too where the policy drops them.

    ``references``: input files that are no part of the training set.
    """
    tables = matching.tables
    tables.materialize("rejected", _REJECTED, {"references": references})
    matching.flag()
    sql = f"SELECT * FROM ({library()['removal_list'].sql})"
    if matching.policy.rejects == "drop":
        sql += f" UNION ALL BY NAME {_DROPPED}"
    tables.materialize("listed", f'{sql} ORDER BY source, "row"', {})


def count_alone(matching: Matching, rule: int) -> dict[str, int]:
    """Samples by action, were this rule the only one."""
    matching.flag(rule)
    return _counts(matching.tables, f"({library()['removal_list'].sql})")


def count_listed(tables: RunTables) -> dict[str, int]:
    """Samples by action in the table listed; rejected rows are none."""
    return _counts(tables, "(FROM listed WHERE caption_id IS NOT NULL)")


def write_list(
    tables: RunTables, store: Store, policy: str, fingerprint: str, csv_safe: bool
) -> None:
    """Write the table listed as Parquet and CSV, in bounded memory, each whole or not at all.

    ``csv_safe``: have no cell of the CSV file begin as a spreadsheet's formula does.
    """
    with tempfile.TemporaryDirectory() as folder:
        parquet, text = Path(folder, PARQUET), Path(folder, CSV)
        schema = _schema(tables, policy, fingerprint)
        as_cells = text_cells if csv_safe else lambda table: table
        with (
            pq.ParquetWriter(parquet, schema, compression="zstd") as as_parquet,
            pyarrow.csv.CSVWriter(text, as_cells(_flat(schema.empty_table())).schema) as as_csv,
        ):
            for table in _tables(tables, schema, policy):
                as_parquet.write_table(table)
                as_csv.write_table(as_cells(_flat(table)))
        store.upload(text, CSV)
        store.upload(parquet, PARQUET)


def _tables(tables: RunTables, schema: pa.Schema, policy: str) -> Iterator[pa.Table]:
    for batch in tables.batches("FROM listed", BATCH_ROWS):
        found = pa.table(batch)
        found = found.append_column("policy", pa.repeat(policy, len(found)))
        yield found.select(schema.names).cast(schema)


def _schema(tables: RunTables, policy: str, fingerprint: str) -> pa.Schema:
    """The list's columns, each with its description, what names the sample first."""
    names = [*tables.query("FROM listed LIMIT 0").column_names, "policy"]
    about = {name: f"the input's column {name.removeprefix(_KEPT)}, as text" for name in names}
    about |= _own_columns()
    fields = [column(name, _TYPES.get(name, pa.string()), about[name]) for name in names]
    return pa.schema(fields, metadata={"policy": policy, "run_fingerprint": fingerprint})


@cache
def _own_columns() -> dict[str, str]:
    """The columns that every list has, with their descriptions."""
    return library()["removal_list"].columns | {"policy": "the policy's name, version and hash"}


def _flat(table: pa.Table) -> pa.Table:
    """For CSV: the reasons in one field, between semicolons."""
    place = table.column_names.index("reasons")
    joined = pc.binary_join(table["reasons"], ";")
    return table.set_column(place, "reasons", joined).replace_schema_metadata(None)


def _counts(tables: RunTables, source: str) -> dict[str, int]:
    found = tables.query(f"SELECT action, count(*) AS n FROM {source} GROUP BY action")
    counts = dict(zip(found["action"].to_pylist(), found["n"].to_pylist(), strict=True))
    return {action: counts.get(action, 0) for action in ("keep", "drop", "cap", "recaption")}
