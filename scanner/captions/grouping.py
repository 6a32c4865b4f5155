"""Group equal captions with DuckDB in bounded memory."""

import tempfile
from collections.abc import Iterator

import duckdb
import pyarrow as pa

MEMORY = "1GB"
# The least samples of a training caption in each tier, from tier 1; reference captions are tier 0.
LEAST_SAMPLES = (100, 10, 4, 2, 1)
_TIER = "CASE WHEN NOT $by_samples OR bool_and(is_reference) THEN 0 {} END::TINYINT".format(
    " ".join(
        f"WHEN sum(samples) >= {least} THEN {number}"
        for number, least in enumerate(LEAST_SAMPLES, 1)
    )
)
# min() compares the struct's fields in order: the most frequent spelling, ties by text.
_GROUP = f"""
WITH together AS (
    SELECT caption_id, caption, sum(n) AS n, any_value(canonical) AS canonical,
           bool_and(is_reference) AS is_reference,
           sum(CASE WHEN is_reference THEN 0 ELSE n END) AS samples
    FROM spellings
    WHERE caption_id NOT IN (FROM earlier)
    GROUP BY caption_id, caption
)
SELECT caption_id,
       min(struct_pack(rarity := -n, caption := caption)).caption AS caption,
       any_value(canonical) AS canonical,
       bool_and(is_reference) AS is_reference,
       {_TIER} AS tier
FROM together
GROUP BY caption_id
HAVING bool_and(is_reference) OR $cutoff IS NULL OR caption_id <= $cutoff
ORDER BY tier, caption_id
"""


def group(
    spellings: pa.RecordBatchReader,
    earlier: pa.RecordBatchReader,
    cutoff: str | None,
    rows: int,
    by_samples: bool = False,
    memory: str = MEMORY,
) -> Iterator[pa.RecordBatch]:
    """Yield the distinct captions of spellings, sorted by ``tier``, then by id, at most ``rows``
    per batch.

    ``tier``: 0, or with ``by_samples`` the tier by number of samples (``LEAST_SAMPLES``).
    ``spellings`` has columns caption_id, caption, canonical, is_reference, n; ``earlier`` the ids
    to omit. Training captions with ids above ``cutoff`` are omitted too. Spills to a temporary
    directory beyond ``memory``.
    """
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.execute("SET memory_limit = $memory", {"memory": memory})
        connection.execute("SET temp_directory = $folder", {"folder": folder})
        connection.register("spellings", spellings)
        connection.register("earlier", earlier)
        yield from connection.sql(
            _GROUP, params={"cutoff": cutoff, "by_samples": by_samples}
        ).to_arrow_reader(rows)
