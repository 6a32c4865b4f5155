"""How the requests of planning grow with the rows: measured at two sizes, calculated beyond.

The measured plans use sizes divided by SCALE, so that they have as many parts and ranges as SCALE
times the rows have by default.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.bench.captions import write_captions
from jobs.bench.counting_store import CountingStore
from jobs.bench.ray_data import group_with_ray_data
from jobs.console.logs import logging_to_stderr
from scanner.run.json_files import MOST_CUTS
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.chunk import Canonical
from scanner.scan.plan.cuts import IDS, IdRange, StagedPart
from scanner.scan.plan.grouping import id_ranges
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.merging import MOST_LEVELS, StagedParts, plan_merges
from scanner.scan.plan.sizes import DEFAULT_SIZES
from scanner.scan.preparation import prepare

log = logging.getLogger("memscan")

FILES = 20
SCALE = 64
SLICE_ROWS = 4096
# Of plans without and with images.
IMAGE_KEYS = ("none", "image")
SMALL = replace(
    DEFAULT_SIZES,
    batch_rows=2048,
    **{
        name: getattr(DEFAULT_SIZES, name) // SCALE
        for name in ("segment_rows", "unit_bytes", "chunk_rows", "staged_rows", "range_rows")
    },
)
CALCULATED_ROWS = (125_000_000, 500_000_000, 2_000_000_000, 8_000_000_000)
CHUNK_ROWS = DEFAULT_SIZES.chunk_rows
# Stored: two hashes or one, which do not compress, and a count.
PAIR_BYTES, REPEAT_BYTES = 34.0, 18.0
# S3 requests besides those for byte ranges of staged rows: two look for the commit, one each
# creates it, reads it and writes a part; a unit also writes samples, two list the slices of a
# range, and three open a samples file and read its images.
REQUESTS_PER_ITEM = {"unit": 6, "merge": 5, "range": 7, "samples": 8, "image_range": 5}


def measure_growth(folder: Path, rows: int) -> list[dict[str, Any]]:
    """Plan a quarter of the rows, then all, without and with image keys, and group the same files
    with Ray Data.

    Returns the figures of each; see ``bench --json`` for their names.
    """
    with logging_to_stderr():
        return [_measure(folder / str(size), size) for size in (rows // 4, rows)]


def _measure(folder: Path, rows: int) -> dict[str, Any]:
    files = write_captions(
        folder / "rows", rows, FILES, rows // 2, row_group=SMALL.chunk_rows, images=rows * 3 // 4
    )
    config = ScanConfig(captions=(files,), out=str(folder / "run"), model="testbed", device="cpu")
    make_canonical = prepare(config).make_canonical
    plain, with_images = (
        _plan(replace(config, image_key=key, out=str(folder / key)), make_canonical)
        for key in IMAGE_KEYS
    )
    ray_data = group_with_ray_data(files, str(folder / "ray"), make_canonical)
    if ray_data.get("captions", plain["captions"]) != plain["captions"]:
        raise RuntimeError(f"planning and Ray Data disagree on the captions: {plain}, {ray_data}")
    return {**plain, "with_images": with_images, "ray_data": ray_data}


def _plan(config: ScanConfig, make_canonical: Callable[[], Canonical]) -> dict[str, Any]:
    store, inputs = CountingStore(config.out), choose_inputs(config)
    began = time.perf_counter()
    plan = make_plan(
        inputs, store, make_canonical, lambda _: SLICE_ROWS, sizes=SMALL, order=config.order
    )
    seconds, rows = time.perf_counter() - began, plan.counts["rows"]
    log.info(f"planning: {rows:,} rows, {store.requests:,} requests, {seconds:.1f} s")
    return {
        "rows": rows,
        "captions": plan.counts["captions"],
        "requests": store.requests,
        "requests_per_thousand_rows": 1000 * store.requests / rows,
        "bytes_read_per_row": store.bytes_read / rows,
        "bytes_written_per_row": store.bytes_written / rows,
        "seconds": seconds,
    }


def calculate_growth(
    bytes_per_row: float = 60.0, rows: Sequence[int] = CALCULATED_ROWS
) -> list[dict[str, Any]]:
    """Return the requests of planning at the default sizes, by the merges that it would run.

    ``bytes_per_row``: stored size of a spelling, none of which repeats; ``rows``: numbers of rows,
    one plan each. With images, every image has two samples with different captions.
    """
    return [_calculate(each, bytes_per_row) for each in rows]


def _calculate(rows: int, bytes_per_row: float) -> dict[str, Any]:
    units, ranges = math.ceil(rows / CHUNK_ROWS), 1 + rows // DEFAULT_SIZES.range_rows
    spellings = _merge([CHUNK_ROWS] * units, bytes_per_row, ranges)
    pairs = _merge([CHUNK_ROWS] * units, PAIR_BYTES, ranges)
    repeats = _merge([rows // ranges] * ranges, REPEAT_BYTES, ranges)
    items = REQUESTS_PER_ITEM["unit"] * units + REQUESTS_PER_ITEM["range"] * ranges
    image_items = REQUESTS_PER_ITEM["samples"] * units + REQUESTS_PER_ITEM["image_range"] * ranges
    requests = items + spellings.requests
    return {
        "rows": rows,
        "parts": units,
        "ranges": ranges,
        "levels_of_merging": spellings.levels,
        "requests": requests,
        "requests_with_images": requests + image_items + pairs.requests + repeats.requests,
        "requests_per_thousand_rows": 1000 * requests / rows,
        "bytes_read_per_row": spellings.bytes_read / rows,
    }


@dataclass(frozen=True)
class _Merging:
    """Requests and bytes of merging parts and of reading every range from what is left."""

    requests: int
    bytes_read: int
    levels: int


def _merge(parts: Sequence[int], bytes_per_row: float, ranges: int) -> _Merging:
    """``parts``: their rows; ``ranges``: number of ranges that are read."""
    sizes = DEFAULT_SIZES
    staged = StagedParts(
        _part(str(number), rows, bytes_per_row) for number, rows in enumerate(parts)
    )
    requests, read, levels = 0, 0, 0
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
    located = [staged.locate(item) for item in id_ranges(ranges)]
    read += sum(map(_bytes, located))
    return _Merging(requests + sum(len(item.staged) for item in located), read, levels)


def _part(name: str, rows: int, bytes_per_row: float, item: IdRange | None = None) -> StagedPart:
    cuts = min(MOST_CUTS, 1 << (max(1, rows // DEFAULT_SIZES.staged_rows).bit_length() - 1))
    lengths = (round(rows * bytes_per_row / cuts),) * cuts
    first, end = (int(item.first, 16), int(item.last, 16) + 1) if item else (0, IDS)
    return StagedPart(name, rows, 0, first, end, lengths)


def _bytes(item: IdRange) -> int:
    return sum(source.end - source.start for source in item.staged)
