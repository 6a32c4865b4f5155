"""Group equal captions with DuckDB in bounded memory."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import duckdb
import pyarrow as pa

MEMORY = "1GB"
# Empty databases for the next groups: opening one takes 20 ms.
_IDLE: list[duckdb.DuckDBPyConnection] = []
# The least samples of a training caption in each tier, from tier 1; reference captions are tier 0.
LEAST_SAMPLES = (100, 10, 4, 2, 1)
_TIERS = " ".join(
    f"WHEN {{prior}} >= {least} THEN {number}" for number, least in enumerate(LEAST_SAMPLES, 1)
)
_TIER = f"CASE WHEN NOT $by_samples OR bool_and(is_reference) THEN 0 {_TIERS} END::TINYINT"
_SAMPLES = "sum(samples)"
# The larger of the caption's samples and of those that share one of its images.
_SAMPLES_OR_REPEATS = f"greatest({_SAMPLES}, coalesce(any_value(repeated), 0))"
_JOIN_REPEATS = """
LEFT JOIN (
    SELECT caption_id, max(n) AS repeated FROM repeats GROUP BY caption_id
) USING (caption_id)"""
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
FROM together {{join}}
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
    repeats: pa.RecordBatchReader | None = None,
    memory: str = MEMORY,
) -> Iterator[pa.RecordBatch]:
    """Yield the distinct captions of spellings, sorted by ``tier``, then by id, at most ``rows``
    per batch.

    ``tier``: 0, or with ``by_samples`` the tier by number of samples (``LEAST_SAMPLES``).
    ``spellings`` has columns caption_id, caption, canonical, is_reference, n; ``earlier`` the ids
    to omit; ``repeats``, of :func:`scanner.captions.image_repeats.count_repeats`, has columns
    caption_id and n: the tier is by n if that is more than the samples. Training captions with ids
    above ``cutoff`` are omitted too. Spills to a temporary directory beyond ``memory``.
    """
    query = _GROUP.format(prior=_SAMPLES, join="")
    if repeats is not None:
        query = _GROUP.format(prior=_SAMPLES_OR_REPEATS, join=_JOIN_REPEATS)
    with bounded_connection(memory) as connection:
        connection.register("spellings", spellings)
        connection.register("earlier", earlier)
        if repeats is not None:
            connection.register("repeats", repeats)
        params = {"cutoff": cutoff, "by_samples": by_samples}
        yield from connection.sql(query, params=params).to_arrow_reader(rows)


@contextmanager
def bounded_connection(memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection with one thread that spills to a temporary directory beyond ``memory``.

    Its database is used again afterwards, unless it has spilled or the caller has failed.
    """
    try:
        database = _IDLE.pop()
    except IndexError:
        database = duckdb.connect(config={"threads": 1})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as closing:
        closing.callback(database.close)
        database.execute("SET memory_limit = $memory", {"memory": memory})
        database.execute("SET temp_directory = $folder", {"folder": folder})
        with database.cursor() as connection:
            yield connection
        with suppress(duckdb.Error):  # a folder that has been used cannot be changed
            database.execute("SET temp_directory = ''")
            closing.pop_all()
            _IDLE.append(database)
