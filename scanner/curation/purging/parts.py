"""Rewrite the parts of a run without what is purged, row group by row group."""

import hashlib
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.curation.purging.blanking import CAPTIONS, READ, blanked
from scanner.curation.purging.reading import Groups
from scanner.curation.purging.targets import Targets
from scanner.run.records import Part
from scanner.storage import Store

# Added to the names of rewritten parts.
_SUFFIX = re.compile(r"-p[0-9a-f]{12}$")
# Columns by which a table's rows belong to what is purged.
_MATCHED = ("caption_id", "source", "row")


@dataclass(frozen=True)
class Rewritten:
    """A part without what is purged; None for one that loses all its rows.

    ``lost``: rows removed per row group of the old part. ``tables``: small columns of removed rows,
    for counts.
    """

    part: Part | None
    removed: pa.Table
    lost: tuple[int, ...] = ()
    kept_ids: tuple[tuple[str, str], ...] = field(default=())


def rewrite(
    store: Store, kind: str, path: str, groups: Groups, targets: Targets
) -> Rewritten | None:
    """Write an open part again without purged rows, under a name that depends on the targets only.

    Returns None, and writes nothing, if it has no purged rows. ``kept_ids``: the lowest and highest
    caption id of each row group that has rows left. The old part stays.
    """
    wanted = (*_MATCHED, *READ, *(["is_reference"] if kind == CAPTIONS else []))
    tables = groups.read([name for name in wanted if name in groups.columns])
    if not any(_is_touched(table, kind, targets) for table in tables):
        return None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "part.parquet")
        removed: list[pa.Table] = []
        lost: list[int] = []
        kept_ids: list[tuple[str, str]] = []
        rows = 0
        schema = groups.parquet.schema_arrow
        with pq.ParquetWriter(target, schema, **_options(groups.parquet)) as writer:
            for table in groups.read(groups.columns):
                gone = _purged(table, targets)
                removed.append(_brief(table.filter(pa.array(gone))))
                lost.append(int(gone.sum()))
                kept = blanked(table.filter(pa.array(~gone)), kind, targets)
                kept_ids.append(_bounds(kept))
                rows += len(kept)
                if len(kept):
                    writer.write_table(kept, row_group_size=len(kept))
        gone_rows = pa.concat_tables(removed)
        if not rows:
            return Rewritten(None, gone_rows, tuple(lost), tuple(kept_ids))
        part = _upload(store, kind, renamed(path, targets.id), target, rows)
    return Rewritten(part, gone_rows, tuple(lost), tuple(kept_ids))


def _is_touched(table: pa.Table, kind: str, targets: Targets) -> bool:
    return bool(_purged(table, targets).any()) or not blanked(table, kind, targets).equals(table)


def _purged(table: pa.Table, targets: Targets) -> np.ndarray:
    """Return which rows of a table are purged (N,)."""
    gone = np.zeros(len(table), bool)
    if "source" in table.column_names:
        gone |= targets.has_rows(table["source"], table["row"])
    if "caption_id" in table.column_names:
        gone |= targets.has_captions(table["caption_id"])
    return gone


def _bounds(table: pa.Table) -> tuple[str, str]:
    if not len(table) or "caption_id" not in table.column_names:
        return "", ""
    found = pc.min_max(table["caption_id"]).as_py()
    return found["min"] or "", found["max"] or ""


def _brief(table: pa.Table) -> pa.Table:
    wanted = ("source", "row", "caption_id", "is_reference", "reason")
    return table.select([name for name in wanted if name in table.column_names])


def _options(parquet: pq.ParquetFile) -> dict[str, Any]:
    """Return options like those of the part's writer (scanner.run.schema.write_part)."""
    if not parquet.metadata.num_row_groups:
        return {"compression": "zstd"}
    group = parquet.metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    repeating = [one.path_in_schema for one in columns if one.has_dictionary_page]
    return {"compression": "zstd", "use_dictionary": repeating}


def renamed(path: str, name: str) -> str:
    """Return the name of a part that a purge of this name writes instead."""
    stem = _SUFFIX.sub("", path.removesuffix(".parquet"))
    return f"{stem}-p{name}.parquet"


def _upload(store: Store, kind: str, path: str, local: Path, rows: int) -> Part:
    with local.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    store.upload(local, path)
    return Part(kind, path, rows, digest, local.stat().st_size)
