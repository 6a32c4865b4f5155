"""Group captions with Ray Data's hash aggregation, which planning is compared with."""

import functools
import logging
import os
import pickle
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.identity import caption_ids
from scanner.cluster import start_ray

log = logging.getLogger("memscan")

PARTITION_ROWS = 1 << 18
INSTALL = "pip install 'ray[data]'"


def group_with_ray_data(
    files: str, out: str, make_canonical: Callable[[], Callable[[str], str]]
) -> dict[str, Any]:
    """Group the captions of parquet files by caption id and spelling, and write the result.

    ``files``: glob of local files; ``out``: folder. Returns the figures, or under ``problem`` why
    Ray Data cannot be used.
    """
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"  # read when it is imported
    try:
        import ray.data
        from ray.data.aggregate import Min, Sum
    except ImportError as error:
        return {"problem": f"Ray Data cannot be imported ({error}): {INSTALL}"}
    start_ray(None)
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    paths = sorted(map(str, Path(files).parent.glob(Path(files).name)))
    rows = sum(pq.read_metadata(path).num_rows for path in paths)
    identify: Any = partial(_identify, ray.cloudpickle.dumps(make_canonical))
    began = time.perf_counter()
    spellings = (
        ray.data.read_parquet(paths)
        .select_columns(["caption"])
        .map_batches(identify, batch_format="pyarrow", batch_size=1 << 13)
    )
    grouped = spellings.groupby(
        ["caption_id", "caption"], num_partitions=max(1, rows // PARTITION_ROWS)
    ).aggregate(Sum("n", alias_name="n"), Min("canonical", alias_name="canonical"))
    grouped.write_parquet(out)
    seconds = time.perf_counter() - began
    first = identify(pq.read_table(paths[0], columns=["caption"]))
    log.info(f"Ray Data: {rows:,} rows in {seconds:.1f} s")
    return {
        "captions": sum(pq.read_metadata(path).num_rows for path in Path(out).glob("*.parquet")),
        "seconds": seconds,
        "bytes_shuffled_per_row": first.nbytes / len(first),
    }


@functools.cache
def _normalization(pickled: bytes) -> Callable[[str], str]:
    """Load what a worker needs of the tokenizer once, as planning does, not for each batch."""
    normalize: Callable[[str], str] = pickle.loads(pickled)()
    return normalize


def _identify(pickled: bytes, table: pa.Table) -> pa.Table:
    """Return the caption ids and spellings of rows."""
    normalize = _normalization(pickled)
    canonical = [normalize(caption) for caption in table["caption"].to_pylist()]
    return pa.table(
        {
            "caption_id": caption_ids(canonical),
            "caption": table["caption"],
            "canonical": canonical,
            "n": pa.repeat(1, len(table)),
        }
    )
