"""Made-up captions, as many as a measurement takes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ("red", "blue", "old", "new", "small", "cat", "dog", "house", "tree", "river", "boat")


def write_captions(folder: Path, rows: int, files: int, distinct: int | None = None) -> str:
    """Write captions of about a dozen words into parquet files; a glob of them.

    ``distinct``: how many different ones there are, in turn; all of them by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    share = -(-rows // files)
    for number in range(files):
        mine = range(number * share, min(rows, (number + 1) * share))
        table = pa.table(
            {
                "key": pa.array(mine, pa.int64()).cast(pa.string()),
                "caption": [caption(row % (distinct or rows)) for row in mine],
            }
        )
        pq.write_table(table, folder / f"{number:03d}.parquet")
    return str(folder / "*.parquet")


def caption(number: int) -> str:
    """A caption that no other number has."""
    words = " ".join(WORDS[(number * 7 + place * place * 3) % 11] for place in range(9))
    return f"a photo of {words}, number {number}"
