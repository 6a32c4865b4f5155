"""Merge one group of real parts, as an actor of the pool does before a run is sealed."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.sql_run import synthetic_run
from scanner.run import Commits, Output, Run
from scanner.run.compaction import DEFAULT_SIZES, Group, SliceVersion
from scanner.scan.merging import PartMergeWork
from scanner.storage import Store

FINGERPRINT = "f"
# Values per caption of the signals per layer, which synthetic runs lack.
LAYER_VALUES = 80


def merge_group(folder: Path, captions: int, slice_captions: int) -> tuple[float, str]:
    """Return the seconds that one group takes on a local disk, and a note on a run of
    ``captions``."""
    store, group = _scored_group(folder, slice_captions)
    small = sum(file.size for file in store.files("scores").values())
    began = time.perf_counter()
    work = PartMergeWork(store, FINGERPRINT)
    result = work.finish(work.prepare(group))
    merged = Commits(store, "compaction").commit(group.id, result.outputs, notes=result.notes)
    seconds = time.perf_counter() - began
    hours = seconds * captions / group.rows / 3600
    return seconds, (
        f"{len(group.slices)} parts of {small / 1e6:.0f} MB into one of "
        f"{merged.parts[0].bytes / 1e6:.0f} MB; all groups: {hours:.1f} core-hours"
    )


def _scored_group(folder: Path, slice_captions: int) -> tuple[Store, Group]:
    """Commit the slices of one group, with synthetic scores of about the size of ``standard``'s."""
    manifest = Run.existing(synthetic_run(folder, DEFAULT_SIZES.rows)).manifest()
    assert manifest is not None
    source = Store(str(folder / f"run-{DEFAULT_SIZES.rows}"))
    scores = pa.concat_tables(
        pq.read_table(pa.BufferReader(source.read(part["path"]))) for part in manifest["scores"]
    )
    layers = np.random.default_rng(0).random(len(scores) * LAYER_VALUES).astype(np.float32)
    offsets = pa.array(np.arange(len(scores) + 1) * LAYER_VALUES, pa.int32())
    scores = scores.append_column("layers", pa.ListArray.from_arrays(offsets, pa.array(layers)))
    store = Store(str(folder / "group"))
    commits = Commits(store, "commits", FINGERPRINT)
    versions = []
    for number, first in enumerate(range(0, len(scores), slice_captions)):
        table = scores.slice(first, slice_captions)
        commits.commit(f"{number:06d}", [Output("scores", table)])
        versions.append(SliceVersion(f"{number:06d}", 0, len(table)))
    return store, Group(tuple(versions))
