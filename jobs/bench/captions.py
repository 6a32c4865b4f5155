"""Generate synthetic captions for measurements."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ("red", "blue", "old", "new", "small", "cat", "dog", "house", "tree", "river", "boat")


def write_captions(
    folder: Path,
    rows: int,
    files: int,
    distinct: int | None = None,
    row_group: int | None = None,
    images: int | None = None,
) -> str:
    """Write captions of about a dozen words to parquet files; return a glob that matches them.

    ``distinct``: number of different captions, repeated in turn; by default no caption repeats.
    ``row_group``: rows per row group, by default those of pyarrow. ``images``: number of different
    values of the column image, repeated in turn; by default the column is omitted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    share = -(-rows // files)
    for number in range(files):
        part = range(number * share, min(rows, (number + 1) * share))
        columns = {
            "key": pa.array(part, pa.int64()).cast(pa.string()),
            "caption": [caption(row % (distinct or rows)) for row in part],
        }
        if images:
            columns["image"] = [f"https://images.example/{row % images}.jpg" for row in part]
        pq.write_table(
            pa.table(columns), folder / f"{number:03d}.parquet", row_group_size=row_group
        )
    return str(folder / "*.parquet")


def caption(number: int) -> str:
    """Return a synthetic caption, different for each number."""
    words = " ".join(WORDS[(number * 7 + position * position * 3) % 11] for position in range(9))
    return f"a photo of {words}, number {number}"
