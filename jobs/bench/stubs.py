"""Stubs that replace part of a scan's work, to time the rest of the pipeline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jobs.bench.captions import caption
from scanner.cluster import Result
from scanner.run import Output, Slice
from scanner.run.schema import with_column
from scanner.scan.preparation import PreparedScan
from scanner.scan.work import ScanWork, SliceScorer
from scanner.scoring.read_captions import ReadCaptions
from scanner.storage import Store

READY_ROWS = 256
STUB_SLICE = 4096


@dataclass(frozen=True)
class StubScan(PreparedScan):
    """A scan whose actors skip part of the work.

    stub: ``ready_table`` only reads, writes and commits; ``stub_unet`` skips the U-Net and the text
    encoder.
    """

    stub: str = "ready_table"

    def work(self, store: Store) -> "StubWork":
        return StubWork(**vars(super().work(store)), stub=self.stub)


@dataclass(frozen=True)
class StubWork(ScanWork):
    stub: str = "ready_table"

    def __call__(self) -> SliceScorer:
        full = super().__call__()
        kind = ReadyTable if self.stub == "ready_table" else StubUnet
        return kind(full.store, full.scorer, full.size_file, full.environment)


@dataclass
class _MemoryRecording(SliceScorer):
    """Record the resident memory of the actor in each commit."""

    def finish(self, computed: Any) -> Result:
        result = super().finish(computed)
        result.notes["resident_bytes"] = resident_bytes()
        return result


@dataclass
class StubUnet(_MemoryRecording):
    """Tokenize, and build tables and trigger words from signals that were computed once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        read = self.scorer.read([caption(number) for number in range(READY_ROWS)])
        assert read.tokens is not None
        self._ready = self.scorer.compute(read)

    def compute(self, prepared: ReadCaptions) -> tuple[ReadCaptions, dict[str, Tensor]]:
        numbers = torch.arange(len(prepared.captions)) % READY_ROWS
        return prepared, {name: values[:, numbers] for name, values in self._ready.items()}


@dataclass
class ReadyTable(_MemoryRecording):
    """Write a precomputed table under the ids of the slice's captions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        few = self.scorer.score([caption(number) for number in range(READY_ROWS)])
        self._ready = _scattered(pa.concat_tables([few] * (STUB_SLICE // READY_ROWS)))

    def prepare(self, item: Slice) -> Any:
        return self.read(item)

    def compute(self, prepared: pa.Table) -> pa.Table:
        return prepared

    def finish(self, computed: pa.Table) -> Result:
        table = self._ready.slice(0, len(computed)).combine_chunks()
        table = with_column(table, "caption_id", computed["caption_id"].combine_chunks())
        return Result([Output("scores", table)], {"resident_bytes": resident_bytes()})


def _scattered(table: pa.Table) -> pa.Table:
    """Return the table with distinct numbers, since repeated ones compress to almost nothing."""
    random = np.random.default_rng(0)
    columns = []
    for column in table.combine_chunks().columns:
        array = column.combine_chunks()
        if pa.types.is_floating(array.type):
            array = _jittered(array, random)
        elif pa.types.is_list(array.type) and pa.types.is_floating(array.type.value_type):
            array = pa.ListArray.from_arrays(array.offsets, _jittered(array.values, random))
        columns.append(array)
    return pa.table(columns, schema=table.schema)


def _jittered(array: pa.Array, random: np.random.Generator) -> pa.Array:
    values = array.to_numpy(zero_copy_only=False)
    return pa.array(values * random.uniform(0.5, 2, len(values)).astype(np.float32))


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096
