"""Made-up captions, as many as a measurement takes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ("red", "blue", "old", "new", "small", "cat", "dog", "house", "tree", "river", "boat")


def write_captions(folder: Path, captions: int, files: int) -> str:
    """Write distinct captions of about a dozen words into parquet files; a glob of them."""
    folder.mkdir(parents=True, exist_ok=True)
    share = -(-captions // files)
    for number in range(files):
        rows = range(number * share, min(captions, (number + 1) * share))
        table = pa.table(
            {
                "key": pa.array(rows, pa.int64()).cast(pa.string()),
                "caption": [caption(row) for row in rows],
            }
        )
        pq.write_table(table, folder / f"{number:03d}.parquet")
    return str(folder / "*.parquet")


def caption(number: int) -> str:
    """A caption that no other number has."""
    words = " ".join(WORDS[(number * 7 + place * place * 3) % 11] for place in range(9))
    return f"a photo of {words}, number {number}"
