"""Time the indexing of images, and the exact search of an index against a plain read of it.

Each measurement runs in this process. A round runs the plain read and then each search of the same
files, which are in the page cache; figures are medians over rounds, after one that only warms up.
"""

import io
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from scanner.cores import usable_cores
from scanner.evidence.index.build import index_images
from scanner.evidence.index.config import IndexConfig
from scanner.evidence.index.descriptor import DIMENSION
from scanner.evidence.index.search import Shards, search
from scanner.evidence.index.shards import IMAGES, VECTOR, shards_of
from scanner.storage import Store

log = logging.getLogger("memscan")

CORES = 2
VECTORS = 100_000
QUERIES = (1, 100, 1000)
TOP = 5
IMAGES_INDEXED = 2000
SIDE = 512
BLOCK = 1 << 16


def measure(rounds: int, vectors: int = VECTORS) -> dict[str, Any]:
    """Return all figures; see ``bench --index --json`` for their names. ``vectors``: to search."""
    cores = min(CORES, usable_cores())
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        with tempfile.TemporaryDirectory() as folder:
            log.info(f"index: searching {vectors:,} vectors")
            searched = _search(Path(folder, "search"), vectors, rounds)
            log.info(f"index: embedding {IMAGES_INDEXED:,} images")
            indexed = _index(Path(folder))
    finally:
        torch.set_num_threads(before)
    return {"cores": cores, "searching": searched, "indexing": indexed}


def lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as text."""
    search, index = figures["searching"], figures["indexing"]
    found = [
        f"search of {search['vectors']:,} vectors of {DIMENSION} numbers "
        f"({search['bytes'] / 1e9:.2f} GB of vectors) on {figures['cores']} cores, top {TOP}",
        f"{'plain read of the vectors:':28}{search['plain_read_gb_per_second']:6.2f} GB/s",
    ]
    for count, one in search["queries"].items():
        found.append(
            f"{count + ' queries:':28}{one['gb_per_second']:6.2f} GB/s, "
            f"{one['share_of_plain_read']:.0%} of the plain read"
        )
    found.append(
        f"indexing: {index['images_per_second']:,.0f} images/s ({index['images']:,} JPEG files of "
        f"{SIDE} px in Parquet, built-in descriptor, {figures['cores']} cores)"
    )
    return found


def _search(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    shards = _random_shards(folder, count)
    random = np.random.default_rng(1)
    variants: dict[str, Callable[[], Any]] = {"plain": lambda: _plain_read(folder, shards)}
    for queries in QUERIES:
        drawn = _units(random, queries)
        variants[str(queries)] = lambda drawn=drawn: search(shards, drawn, TOP)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, run in variants.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    taken = {name: statistics.median(each[1:]) for name, each in seconds.items()}
    ratios = {
        name: statistics.median(np.divide(seconds["plain"], each)[1:].tolist())
        for name, each in seconds.items()
    }
    size = 2 * DIMENSION * count
    return {
        "vectors": count,
        "bytes": size,
        "plain_read_gb_per_second": size / 1e9 / taken["plain"],
        "queries": {
            str(queries): {
                "gb_per_second": size / 1e9 / taken[str(queries)],
                "share_of_plain_read": ratios[str(queries)],
            }
            for queries in QUERIES
        },
    }


def _units(random: np.random.Generator, count: int) -> np.ndarray:
    drawn = random.standard_normal((count, DIMENSION), np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def _random_shards(folder: Path, count: int) -> Shards:
    store, random, parts = Store(str(folder)), np.random.default_rng(0), []
    for start in range(0, count, BLOCK):
        rows = range(start, min(start + BLOCK, count))
        size = len(rows)
        columns = [["s.parquet"] * size, rows, list(map(str, rows)), [None] * size, [1] * size]
        images = pa.table(columns, schema=IMAGES)
        for number, shard in enumerate(shards_of(images, _units(random, size).astype(np.float16))):
            parts.append(shard.write(store, f"{start:09d}-{number}"))
    return Shards(store, tuple(parts), DIMENSION)


def _plain_read(folder: Path, shards: Shards) -> None:
    for part in shards.parts:
        pq.read_table(folder / part.path, columns=[VECTOR])


def _index(folder: Path) -> dict[str, Any]:
    """Index distinct JPEG images; the rate is from the first image to the last."""
    data = [_jpeg(number) for number in range(IMAGES_INDEXED)]
    pq.write_table(pa.table({"jpg": data}), folder / "images.parquet", row_group_size=500)
    config = IndexConfig(inputs=(str(folder / "images.parquet"),), out=str(folder / "index"))
    result = index_images(config, lambda _: None)
    return {"images": IMAGES_INDEXED, "images_per_second": result.images_per_second}


def _jpeg(number: int) -> bytes:
    """Return a smooth random image with some noise, of a photograph's size as JPEG."""
    random, data = np.random.default_rng(number), io.BytesIO()
    coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + random.integers(-8, 9, (SIDE, SIDE, 1), dtype=np.int16)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=90)
    return data.getvalue()
