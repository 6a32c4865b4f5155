"""Count how many samples share the images of captions, with DuckDB in bounded memory."""

from collections.abc import Iterator

import pyarrow as pa

from scanner.captions.grouping import MEMORY, bounded_connection

# The pairs are read twice, and their source only once.
_COUNT = """
WITH pairs AS MATERIALIZED (FROM staged),
repeated AS (SELECT image_id, sum(n) AS samples FROM pairs GROUP BY image_id HAVING sum(n) > 1)
SELECT caption_id, max(samples)::BIGINT AS n
FROM pairs JOIN repeated USING (image_id)
WHERE caption_id IS NOT NULL AND ($cutoff IS NULL OR caption_id <= $cutoff)
GROUP BY caption_id
ORDER BY caption_id
"""


def count_repeats(
    pairs: pa.RecordBatchReader, cutoff: str | None, rows: int, memory: str = MEMORY
) -> Iterator[pa.RecordBatch]:
    """Yield the captions of repeated images, sorted by id, at most ``rows`` per batch.

    ``pairs`` has columns image_id, caption_id, n (samples with this image and caption); all pairs
    of an image have to be in it. The batches have columns caption_id and n: the samples of that of
    the caption's images which has most, over all captions; at least 2. Captions with ids above
    ``cutoff`` are omitted, but their samples count; so do pairs whose caption_id is null. Spills to
    a temporary directory beyond ``memory``.
    """
    with bounded_connection(memory) as connection:
        connection.register("staged", pairs)
        yield from connection.sql(_COUNT, params={"cutoff": cutoff}).to_arrow_reader(rows)
