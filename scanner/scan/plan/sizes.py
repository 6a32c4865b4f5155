"""How much planning reads, groups and writes at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlanSizes:
    """Approximate maximum sizes, with the unit at the end of each name.

    They bound memory and the work lost to a failure. The planned samples and captions do not depend
    on them. A rerun keeps the units that its first call packed.

    ``segment_rows``: an extent of a parquet file, in whole row groups; ``unit_bytes``,
    ``unit_segments``: the segments that are read and committed together, in stored bytes;
    ``batch_rows``: rows read from a file at a time, None for the default of its format;
    ``chunk_rows``, ``chunk_bytes``: rows written together; ``staged_rows``, ``staged_bytes``: a cut
    of staged rows, the least that is read of a part; ``range_rows``, ``range_bytes``: a
    range of ids (of captions, or of images), which is read as a whole, in rows and in bytes of long
    captions;
    ``fan_in``: parts merged into one; ranges are read from about as many parts, and more are merged
    first; ``merge_bytes``: staged rows merged in memory.
    """

    segment_rows: int = 1 << 20
    unit_bytes: int = 64 << 20
    unit_segments: int = 64
    batch_rows: int | None = None
    chunk_rows: int = 1 << 19
    chunk_bytes: int = 1 << 27
    staged_rows: int = 4096
    staged_bytes: int = 1 << 20
    range_rows: int = 1 << 20
    range_bytes: int = 64 << 20
    fan_in: int = 16
    merge_bytes: int = 512 << 20


DEFAULT_SIZES = PlanSizes()
