"""Group equal captions, out of core, in DuckDB."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

# min() of a struct compares its fields in order: the commonest spelling, ties to the smallest.
GROUP = """
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
ORDER BY caption_id
"""


def distinct_captions(
    files: list[Path], scratch: Path, limit: int | None, rows: int
) -> Iterator[pa.RecordBatch]:
    """The distinct captions of staged files, sorted by id, at most ``rows`` in a batch.

    ``files`` hold caption_id, caption, canonical, is_reference, a row a sample; ``scratch`` takes
    what does not fit in memory; ``limit`` keeps the smallest ids.
    """
    with duckdb.connect() as connection:
        connection.execute("SET temp_directory = $folder", {"folder": str(scratch)})
        query = GROUP if limit is None else f"{GROUP} LIMIT {int(limit)}"
        result = connection.sql(query, params={"files": [str(file) for file in files]})
        yield from result.to_arrow_reader(rows)


def count_distinct(files: list[Path], scratch: Path) -> int:
    """How many distinct captions the staged files hold."""
    with duckdb.connect() as connection:
        connection.execute("SET temp_directory = $folder", {"folder": str(scratch)})
        row = connection.execute(
            "SELECT count(DISTINCT caption_id) FROM read_parquet($files)",
            {"files": [str(file) for file in files]},
        ).fetchone()
    assert row is not None
    return int(row[0])
