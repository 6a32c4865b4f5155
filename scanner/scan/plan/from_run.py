"""Plan a scan of the captions that an earlier run flagged, instead of input files."""

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from scanner.errors import UserError
from scanner.query import RunTables, open_run
from scanner.run import Plan, Run
from scanner.run.sealing import is_in_part
from scanner.scan.plan.grouping import part_rows, rechunk
from scanner.scan.plan.make_plan import list_slices
from scanner.scan.plan.tiers import BY_RANK, CaptionsOutput, ScanOrder, tier_by_rank
from scanner.storage import Store

BATCH_ROWS = 1 << 16


def plan_from_run(
    url: str,
    where: str,
    store: Store,
    slice_rows: Callable[[int], int],
    limit: int | None,
    order: ScanOrder = "id",
) -> Plan:
    """Plan the captions of a run's view ranked that match ``where``, with their samples.

    ``order``: of the slices, ``yield`` for tiers by that run's ranking. Raises UserError if the run
    is not sealed, the predicate is invalid, or no caption matches.
    """
    manifest = Run.existing(url).manifest() or {"counts": {}}
    left = {"not_scanned": manifest["counts"]["not_scanned"]} if is_in_part(manifest) else {}
    tables = open_run(url)
    tables.rank_by(where=where)
    name = uuid.uuid4().hex[:12]
    flagged = "FROM ranked ORDER BY caption_id" + (f" LIMIT {limit}" if limit else "")
    total = tables.query(f"SELECT count(*) AS n FROM ({flagged})")["n"][0].as_py()
    if total == 0:
        raise UserError(f"{url}: no caption matches --where {where}")
    rows = slice_rows(total)
    place = "percent_rank() OVER (ORDER BY rank_score DESC NULLS LAST)"
    tier = tier_by_rank(place) if order == "yield" else "0::TINYINT"
    captions = (
        f"SELECT caption_id, caption, canonical, false AS is_reference, {tier} AS tier "
        f"FROM ({flagged}) ORDER BY tier, caption_id"
    )
    files = [
        CaptionsOutput("captions", table, rows).write(store, f"{name}-{number:04d}").path
        for number, table in enumerate(rechunk(tables.batches(captions, rows), part_rows(rows)))
    ]
    count = _write_samples(tables, flagged, store, f"samples/{name}-0000.parquet")
    slices, tiers = list_slices(store, files, BY_RANK)
    return Plan(
        inputs=({"run": url, "where": where, **left},),
        samples=(f"samples/{name}-0000.parquet",),
        captions=tuple(files),
        rejects=(),
        slices=tuple(slices),
        counts={
            "rows": count,
            "samples": count,
            "rejects": 0,
            "rejected_files": 0,
            "not_downloaded": 0,
            "captions": total,
        },
        columns={},
        tiers=tiers,
    )


def _write_samples(tables: RunTables, flagged: str, store: Store, name: str) -> int:
    """Write the training samples of the captions of a query; return their number."""
    flagged_ids = f"SELECT caption_id FROM ({flagged})"
    query = f"FROM samples WHERE NOT is_reference AND caption_id IN ({flagged_ids})"
    writer: pq.ParquetWriter | None = None
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder, "samples")
        for batch in tables.batches(query, BATCH_ROWS):
            writer = writer or pq.ParquetWriter(samples, batch.schema, compression="zstd")
            writer.write_batch(batch)
            count += batch.num_rows
        assert writer is not None, "a ranked caption has samples"
        writer.close()
        store.upload(samples, name)
    return count
