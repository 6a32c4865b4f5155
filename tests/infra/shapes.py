"""Small data sets of the shapes that the job files name; each returns what --captions takes."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 6
CAPTIONS = [f"a small boat number {row % 4}" for row in range(ROWS)]
URLS = [f"https://example.com/{row}.jpg" for row in range(ROWS)]
SHA256 = [f"{row:064x}" for row in range(ROWS)]


def laion(folder: Path, captions: Sequence[str] = CAPTIONS) -> str:
    """LAION-2B's columns, as published."""
    rows = len(captions)
    table = {
        "SAMPLE_ID": pa.array(range(rows), pa.int64()),
        "URL": [f"https://example.com/{row}.jpg" for row in range(rows)],
        "TEXT": captions,
        "HEIGHT": [512] * rows,
        "WIDTH": [512] * rows,
        "LICENSE": ["?"] * rows,
        "NSFW": ["UNLIKELY"] * rows,
        "similarity": [0.3] * rows,
    }
    pq.write_table(pa.table(table), folder / "part-00000-snappy.parquet")
    return str(folder / "*.parquet")


def datacomp(folder: Path) -> str:
    """The columns of DataComp's metadata."""
    table = {
        "uid": SHA256,
        "url": URLS,
        "text": CAPTIONS,
        "original_width": [512] * ROWS,
        "original_height": [512] * ROWS,
        "clip_b32_similarity_score": [0.2] * ROWS,
        "clip_l14_similarity_score": [0.2] * ROWS,
        "face_bboxes": [[[0.1, 0.1, 0.2, 0.2]]] * ROWS,
        "sha256": SHA256,
    }
    pq.write_table(pa.table(table), folder / "00000.parquet")
    return str(folder / "*.parquet")


def img2dataset(folder: Path) -> str:
    """A shard of img2dataset: tar, its sidecar parquet and its stats; one download failed."""
    table = {
        "url": URLS,
        "caption": CAPTIONS,
        "key": [f"{row:09d}" for row in range(ROWS)],
        "status": ["success"] * (ROWS - 1) + ["failed_to_download"],
        "error_message": pa.array([None] * (ROWS - 1) + ["timeout"], pa.string()),
        "width": [256] * ROWS,
        "height": [256] * ROWS,
        "original_width": [512] * ROWS,
        "original_height": [512] * ROWS,
        "exif": ["{}"] * ROWS,
        "sha256": SHA256,
    }
    pq.write_table(pa.table(table), folder / "00000.parquet")
    (folder / "00000.tar").write_bytes(b"\0" * 10240)  # an empty archive: not to be read
    (folder / "00000_stats.json").write_text("{}")
    return str(folder)


SHAPES = {"laion": laion, "datacomp": datacomp, "img2dataset": img2dataset}
