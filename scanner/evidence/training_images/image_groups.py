"""Groups of images that are read and committed together."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class ImageGroup:
    """Rows (one per image, or per pair of a caption and an image) that are committed together."""

    id: str
    rows: pa.Table


def in_groups(table: pa.Table, size: int) -> list[ImageGroup]:
    """Split a table into groups of ``size`` rows, each in separate memory."""
    return [
        ImageGroup(
            f"{number:06d}", table.take(pa.array(range(start, min(start + size, len(table)))))
        )
        for number, start in enumerate(range(0, len(table), size))
    ]
