"""Rows of the testbed with near-duplicates of memorized images planted under other captions."""

import io

import pyarrow as pa
from PIL import Image

from scanner.testbed import labels
from tests.evidence.testbed_runs import rows_of

MEMORIZED, OTHERS = 2, 12


def changed(png: bytes, number: int) -> bytes:
    """A near-duplicate: recompressed, enlarged, or enlarged and recompressed."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if number % 3:
        image = image.resize((96, 96), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG" if number % 3 == 1 else "JPEG", quality=70)
    return file.getvalue()


def planted_rows() -> pa.Table:
    """The rows of two memorized captions and of twelve others, and one more per other caption, with
    a near-duplicate of a memorized image: keys that begin with ``planted``, and names the image."""
    rows = labels().to_pylist()
    memorized = [row["caption"] for row in rows if row["group"] == "memorized"][:MEMORIZED]
    others = [row["caption"] for row in rows if row["group"] == "once"][:OTHERS]
    own = rows_of(memorized)
    images = {row["caption"]: row for row in own.to_pylist()}
    copies = [
        {
            **images[memorized[number % MEMORIZED]],
            "caption": caption,
            "key": f"planted {number}",
            "url": f"copy {number}",
            "image": changed(images[memorized[number % MEMORIZED]]["image"], number),
        }
        for number, caption in enumerate(others)
    ]
    return pa.concat_tables([own, rows_of(others), pa.Table.from_pylist(copies, own.schema)])
