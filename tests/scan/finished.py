"""A run whose slices are committed, and the steps from there to a sealed one, in this process."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.run import Run
from scanner.run.compaction import GroupSizes
from scanner.scan.finishing import merge_and_check, remove_merged
from tests.run.planned import ROWS, commit_slice, planned_run, slices_of

SIZES = GroupSizes(rows=5 * ROWS, min_slices=4)
SLICES = slices_of(10)


def scored_run(folder: Path) -> Run:
    """A run with two groups of five committed slices; one caption is rejected."""
    run, _ = planned_run(folder, SLICES)
    for item in SLICES:
        commit_slice(run, item, rejects=item.id == "000007")
    return run


def finish(run: Run, reads_all: bool = False) -> dict[str, str]:
    plan = run.plan()
    assert plan is not None
    return merge_and_check(run, plan, None, lambda _: None, SIZES, reads_all).damaged


def seal(run: Run) -> dict[str, Any]:
    manifest = run.seal()
    remove_merged(run, manifest, None, lambda _: None)
    return manifest


def rows_of(run: Run, manifest: dict[str, Any]) -> pa.Table:
    tables = []
    for part in manifest["scores"]:
        with run.store.open(part["path"]) as file:
            tables.append(pq.read_table(file))
    return pa.concat_tables(tables)
