"""How the requests of planning grow with the rows: measured at two sizes, calculated beyond.

The measured plans use sizes divided by SCALE, so that they have as many parts and ranges as SCALE
times the rows have by default.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.bench.captions import write_captions
from jobs.bench.counting_store import CountingStore
from jobs.bench.ray_data import group_with_ray_data
from jobs.logs import logging_to_stderr
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.cuts import IDS, MOST_CUTS, IdRange, StagedPart
from scanner.scan.plan.grouping import id_ranges
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.merging import MOST_LEVELS, StagedParts, plan_merges
from scanner.scan.plan.sizes import DEFAULT_SIZES
from scanner.scan.preparation import prepare

log = logging.getLogger("memscan")

FILES = 20
SCALE = 64
SLICE_ROWS = 4096
SMALL = replace(
    DEFAULT_SIZES,
    batch_rows=2048,
    **{
        name: getattr(DEFAULT_SIZES, name) // SCALE
        for name in ("segment_rows", "unit_bytes", "chunk_rows", "staged_rows", "range_rows")
    },
)
CALCULATED_ROWS = (125_000_000, 500_000_000, 2_000_000_000, 8_000_000_000)
# S3 requests besides those for byte ranges of spellings: two look for the commit, one each creates
# it, reads it and writes a part; a unit also writes samples, and two list the slices of a range.
REQUESTS_PER_ITEM = {"unit": 6, "merge": 5, "range": 7}


def measure_growth(folder: Path, rows: int) -> list[dict[str, Any]]:
    """Plan a quarter of the rows, then all, and group the same files with Ray Data.

    Returns the figures of each; see ``bench --json`` for their names.
    """
    with logging_to_stderr():
        return [_measure(folder / str(size), size) for size in (rows // 4, rows)]


def _measure(folder: Path, rows: int) -> dict[str, Any]:
    files = write_captions(folder / "rows", rows, FILES, rows // 2, row_group=SMALL.chunk_rows)
    config = ScanConfig(captions=(files,), out=str(folder / "run"), model="testbed", device="cpu")
    make_canonical = prepare(config).make_canonical
    store = CountingStore(config.out)
    inputs = choose_inputs(config)
    began = time.perf_counter()
    plan = make_plan(inputs, store, make_canonical, lambda _: SLICE_ROWS, sizes=SMALL)
    seconds = time.perf_counter() - began
    log.info(f"planning: {rows:,} rows, {store.requests:,} requests, {seconds:.1f} s")
    ray_data = group_with_ray_data(files, str(folder / "ray"), make_canonical)
    if ray_data.get("captions", plan.counts["captions"]) != plan.counts["captions"]:
        raise RuntimeError(
            f"planning and Ray Data disagree on the captions: {plan.counts}, {ray_data}"
        )
    return {
        "rows": rows,
        "captions": plan.counts["captions"],
        "requests": store.requests,
        "requests_per_thousand_rows": 1000 * store.requests / rows,
        "bytes_read_per_row": store.bytes_read / rows,
        "bytes_written_per_row": store.bytes_written / rows,
        "seconds": seconds,
        "ray_data": ray_data,
    }


def calculate_growth(
    bytes_per_row: float = 60.0, rows: Sequence[int] = CALCULATED_ROWS
) -> list[dict[str, Any]]:
    """Return the requests of planning at the default sizes, by the merges that it would run.

    ``bytes_per_row``: stored size of a spelling, none of which repeats; ``rows``: numbers of rows,
    one plan each.
    """
    return [_calculate(each, bytes_per_row) for each in rows]


def _calculate(rows: int, bytes_per_row: float) -> dict[str, Any]:
    sizes = DEFAULT_SIZES
    count = math.ceil(rows / sizes.chunk_rows)
    staged = StagedParts(
        _part(str(number), sizes.chunk_rows, bytes_per_row) for number in range(count)
    )
    requests = REQUESTS_PER_ITEM["unit"] * count
    read, levels = 0, 0
    for level in range(1, MOST_LEVELS + 1):
        merges = plan_merges(staged, level, sizes)
        if not merges:
            break
        levels = level
        items = [item for one in merges.values() for item in one]
        read += sum(map(_bytes, items))
        requests += sum(REQUESTS_PER_ITEM["merge"] + len(item.staged) for item in items)
        left = [
            part for key, parts in staged.buckets.items() if key not in merges for part in parts
        ]
        merged = [
            _part(item.id, round(_bytes(item) / bytes_per_row), bytes_per_row, item)
            for item in items
        ]
        staged = StagedParts([*left, *merged])
    ranges = [staged.locate(item) for item in id_ranges(1 + rows // sizes.range_rows)]
    read += sum(map(_bytes, ranges))
    requests += sum(REQUESTS_PER_ITEM["range"] + len(item.staged) for item in ranges)
    return {
        "rows": rows,
        "parts": count,
        "ranges": len(ranges),
        "levels_of_merging": levels,
        "requests": requests,
        "requests_per_thousand_rows": 1000 * requests / rows,
        "bytes_read_per_row": read / rows,
    }


def _part(name: str, rows: int, bytes_per_row: float, item: IdRange | None = None) -> StagedPart:
    cuts = min(MOST_CUTS, 1 << (max(1, rows // DEFAULT_SIZES.staged_rows).bit_length() - 1))
    lengths = (round(rows * bytes_per_row / cuts),) * cuts
    first, end = (int(item.first, 16), int(item.last, 16) + 1) if item else (0, IDS)
    return StagedPart(name, rows, 0, first, end, lengths)


def _bytes(item: IdRange) -> int:
    return sum(source.end - source.start for source in item.staged)
