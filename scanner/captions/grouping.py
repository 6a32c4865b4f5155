"""Group equal captions, out of core, in DuckDB."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

# min() of a struct compares its fields in order: the commonest spelling, ties to the smallest.
_GROUP = """
CREATE TABLE captions AS
WITH spellings AS (
    SELECT caption_id, caption, count(*) AS n, any_value(canonical) AS canonical,
           bool_and(is_reference) AS is_reference
    FROM read_parquet($files)
    GROUP BY caption_id, caption
)
SELECT caption_id,
       min(struct_pack(rarity := -n, caption := caption)).caption AS caption,
       any_value(canonical) AS canonical,
       bool_and(is_reference) AS is_reference
FROM spellings
GROUP BY caption_id
"""
_LIMIT = """
DELETE FROM captions WHERE NOT is_reference AND caption_id NOT IN (
    SELECT caption_id FROM captions WHERE NOT is_reference ORDER BY caption_id LIMIT $limit
)
"""


class DistinctCaptions:
    """The distinct captions of staged files, a table on disk.

    ``files`` hold caption_id, caption, canonical, is_reference, a row a sample; ``scratch`` takes
    the table and what does not fit in memory. ``limit`` keeps the captions of the training set
    with the smallest ids, and all reference captions.
    """

    def __init__(self, files: list[Path], scratch: Path, limit: int | None = None) -> None:
        self._connection = duckdb.connect(str(scratch / "grouping.duckdb"))
        self._connection.execute("SET temp_directory = $folder", {"folder": str(scratch)})
        self._connection.execute(_GROUP, {"files": [str(file) for file in files]})
        if limit is not None:
            self._connection.execute(_LIMIT, {"limit": limit})

    def count(self) -> int:
        """How many there are."""
        row = self._connection.cursor().execute("SELECT count(*) FROM captions").fetchone()
        assert row is not None
        return int(row[0])

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """All of them, sorted by id, at most ``rows`` in a batch."""
        result = self._connection.cursor().sql("FROM captions ORDER BY caption_id")
        yield from result.to_arrow_reader(rows)

    def close(self) -> None:
        """Release the table's file."""
        self._connection.close()
