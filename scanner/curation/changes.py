"""Compare two removal lists of one run, sample by sample."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.curation.curate import make_list
from scanner.curation.policy import read_policy
from scanner.curation.removals import PARQUET
from scanner.errors import UserError
from scanner.query import RunTables
from scanner.storage import Store

SHOWN = 10
_COLUMNS = ["source", "row", "caption_id", "action", "reasons"]
# Excludes rejected rows, which have no caption.
_CHANGED = """
    SELECT caption_id, before.action AS before, after.action AS after,
           before.reasons AS before_reasons, after.reasons AS after_reasons
    FROM (FROM listed_before WHERE caption_id IS NOT NULL) AS before
    FULL JOIN (FROM listed WHERE caption_id IS NOT NULL) AS after
        USING (source, "row", caption_id)
    WHERE before.action IS DISTINCT FROM after.action"""
# A list keeps the samples that it does not contain.
_ACTIONS = f"""
    SELECT coalesce(before, 'keep') AS before, coalesce(after, 'keep') AS after, count(*) AS samples
    FROM ({_CHANGED}) WHERE coalesce(before, 'keep') <> coalesce(after, 'keep')
    GROUP BY ALL ORDER BY samples DESC, before, after"""
_CAPTIONS = f"""
    SELECT caption_id, any_value(caption) AS caption, count(*) AS samples,
           coalesce(min(before), 'keep') AS before, coalesce(min(after), 'keep') AS after,
           any_value(coalesce(after_reasons, before_reasons)) AS reasons
    FROM ({_CHANGED}) AS changed LEFT JOIN captions USING (caption_id)
    WHERE coalesce(before, 'keep') <> coalesce(after, 'keep')
    GROUP BY caption_id ORDER BY samples DESC, caption_id LIMIT $shown"""


@dataclass(frozen=True)
class Difference:
    """``changes``: number of samples per pair of actions, before and after; ``captions``: the ten
    captions with the most changed samples."""

    other: str
    changes: list[dict[str, Any]]
    captions: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        if not self.changes:
            return f"compared with {self.other}: nothing changes"
        lines = [f"compared with {self.other}:"]
        lines += [
            f"  {item['samples']:>12,} samples  {item['before']} → {item['after']}"
            for item in self.changes
        ]
        return "\n".join(lines)


def load_baseline(tables: RunTables, other: str, run: str) -> None:
    """Create the table listed_before from another policy or from an earlier list's directory.

    Raises UserError if ``other`` is neither.
    """
    if other == "default" or Path(other).is_file():
        make_list(run, tables, read_policy(other))
        tables.create_table("listed_before", "SELECT * FROM listed", {})
        return
    store = Store(other, single_writer=True)
    if not store.exists(PARQUET):
        raise UserError(
            f"--diff {other}: not a policy (a TOML file, or default), nor a directory that memscan "
            f"curate wrote (there is no {PARQUET}); check the path"
        )
    with store.open(PARQUET) as file:
        parquet = pq.ParquetFile(file)
        schema = pa.schema([parquet.schema_arrow.field(name) for name in _COLUMNS])

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in parquet.iter_batches(columns=_COLUMNS):
                yield batch.select(_COLUMNS)

        tables.add_table("listed_before", pa.RecordBatchReader.from_batches(schema, batches()))


def difference(tables: RunTables, other: str) -> Difference:
    """Compare the tables listed_before and listed."""
    changes = tables.query(_ACTIONS).to_pylist()
    captions = tables.query(_CAPTIONS, {"shown": SHOWN}).to_pylist()
    return Difference(other, changes, captions)
