"""Group equal captions with DuckDB in bounded memory."""

import tempfile
from collections.abc import Iterator

import duckdb
import pyarrow as pa

MEMORY = "1GB"
# min() compares the struct's fields in order: the most frequent spelling, ties by text.
_GROUP = """
WITH together AS (
    SELECT caption_id, caption, sum(n) AS n, any_value(canonical) AS canonical,
           bool_and(is_reference) AS is_reference
    FROM spellings
    WHERE caption_id NOT IN (FROM earlier)
    GROUP BY caption_id, caption
)
SELECT caption_id,
       min(struct_pack(rarity := -n, caption := caption)).caption AS caption,
       any_value(canonical) AS canonical,
       bool_and(is_reference) AS is_reference
FROM together
GROUP BY caption_id
HAVING bool_and(is_reference) OR $cutoff IS NULL OR caption_id <= $cutoff
ORDER BY caption_id
"""


def group(
    spellings: pa.RecordBatchReader,
    earlier: pa.RecordBatchReader,
    cutoff: str | None,
    rows: int,
    memory: str = MEMORY,
) -> Iterator[pa.RecordBatch]:
    """Yield the distinct captions of spellings, sorted by id, at most ``rows`` per batch.

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
        yield from connection.sql(_GROUP, params={"cutoff": cutoff}).to_arrow_reader(rows)
