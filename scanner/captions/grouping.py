"""Group equal captions, in bounded memory, in DuckDB."""

import tempfile
from collections.abc import Iterator

import duckdb
import pyarrow as pa

MEMORY = "1GB"
# min() of a struct compares its fields in order: the commonest spelling, ties to the smallest.
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
    """The distinct captions of spellings, sorted by id, at most ``rows`` in a batch.

    ``spellings`` holds caption_id, caption, canonical, is_reference, n; ``earlier`` the ids to
    leave out. A caption of the training set with an id above ``cutoff`` is left out too. What
    does not fit in ``memory`` goes to a temporary directory.
    """
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.execute("SET memory_limit = $memory", {"memory": memory})
        connection.execute("SET temp_directory = $folder", {"folder": folder})
        connection.register("spellings", spellings)
        connection.register("earlier", earlier)
        yield from connection.sql(_GROUP, params={"cutoff": cutoff}).to_arrow_reader(rows)
