"""Read captioned images to train on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from scanner.captions.columns import ColumnOptions, resolve
from scanner.captions.images import (
    IMAGE_DATA_COLUMNS,
    NotAnImage,
    image_bytes,
    open_image,
    resize_and_crop,
)
from scanner.captions.parquet import SkippedRows, bounded_batches, open_parquet
from scanner.errors import UserError
from scanner.storage import is_transient, open_input

SHOWN = 3


@dataclass(frozen=True)
class SkippedSample:
    """A sample that cannot be used for training: row, key and reason."""

    row: int
    key: str
    reason: str


@dataclass(frozen=True)
class TrainingImages:
    """Samples to train on, one entry each. ``files``: encoded bytes of the distinct images;
    ``index``: each sample's image; ``skipped``: samples that cannot be used."""

    keys: list[str]
    captions: list[str]
    files: list[bytes]
    index: list[int]
    skipped: tuple[SkippedSample, ...] = ()

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, str, bytes]]) -> "TrainingImages":
        """Collect rows of (key, caption, image file), storing equal files once."""
        keys, captions, index = [], [], []
        numbers: dict[bytes, int] = {}
        for key, caption, data in rows:
            keys.append(key)
            captions.append(caption)
            index.append(numbers.setdefault(data, len(numbers)))
        return cls(keys, captions, list(numbers), index)

    def __len__(self) -> int:
        return len(self.keys)


def read_training_images(
    url: str,
    caption_column: str | None = None,
    image_column: str | None = None,
    key_column: str | None = None,
) -> TrainingImages:
    """Read a Parquet file with captions and image bytes (or structs with ``bytes``).

    Columns are detected by name unless given; without a key column, row numbers are the keys. Rows
    without a caption or a readable image are listed in ``skipped``. Raises UserError if a column is
    missing, the file is not Parquet, or no row can be used.
    """
    keys, captions, values = _read(url, caption_column, image_column, key_column)
    rows, skipped = [], []
    problems: dict[bytes, str] = {}
    for row, (key, caption, value) in enumerate(zip(keys, captions, values, strict=True)):
        name, data = str(row if key is None else key), image_bytes(value)
        if not caption:
            skipped.append(SkippedSample(row, name, "no caption"))
        elif not data:
            skipped.append(SkippedSample(row, name, "no image"))
        else:
            if data not in problems:
                problems[data] = _problem(data)
            if problems[data]:
                skipped.append(SkippedSample(row, name, problems[data]))
            else:
                rows.append((name, str(caption), data))
    if not rows:
        why = "; ".join(f"row {one.row}: {one.reason}" for one in skipped[:SHOWN])
        raise UserError(f"{url}: no row has both a caption and a readable image ({why})")
    return replace(TrainingImages.from_rows(rows), skipped=tuple(skipped))


def _read(
    url: str, caption_column: str | None, image_column: str | None, key_column: str | None
) -> tuple[Iterable[Any], list[Any], list[Any]]:
    """Read the keys, captions and images of a Parquet file."""
    try:
        with open_input(url) as file:
            parquet = open_parquet(file)
            available = list(parquet.schema_arrow.names)
            columns = resolve(available, url, ColumnOptions(caption_column, key_column, keep=()))
            image = image_column or next(
                (name for name in available if name.lower() in IMAGE_DATA_COLUMNS), None
            )
            if image is None or image not in available:
                raise UserError(
                    f"{url}: no image column {image_column or ''} among {', '.join(available)}; "
                    "name it with --image-column"
                )
            names = list(dict.fromkeys(filter(None, (columns.caption, columns.key, image))))
            table = _columns(url, file, parquet, names)
    except (OSError, ValueError, pa.ArrowException) as error:
        if is_transient(error):
            raise
        why = "no such file" if isinstance(error, FileNotFoundError) else str(error).split("\n")[0]
        raise UserError(
            f"{url}: cannot be read as Parquet ({why}); give a Parquet file with captions and "
            "image bytes"
        ) from error
    captions, images = (table[name] for name in (columns.caption, image))
    keys = table[columns.key] if columns.key else range(len(captions))
    return keys, captions, images


def _columns(
    url: str, file: IO[bytes], parquet: pq.ParquetFile, names: list[str]
) -> dict[str, list[Any]]:
    """Read columns in bounded batches. Raises UserError if a page exceeds the limit."""
    values: dict[str, list[Any]] = {name: [] for name in names}
    for batch in bounded_batches(file, parquet, range(parquet.metadata.num_row_groups), names):
        if isinstance(batch, SkippedRows):
            raise UserError(f"{url}: {batch.reason}; rewrite the file with smaller pages")
        for name in names:
            values[name] += batch.column(name).to_pylist()
    return values


def _problem(data: bytes) -> str:
    """Return why an image cannot be read, or an empty string."""
    try:
        open_image(data)
    except NotAnImage as error:
        return str(error)
    return ""


def decode_images(files: Sequence[bytes], height: int, width: int) -> Tensor:
    """Decode images to (N, 3, height, width) in [-1, 1], scaled to cover the size and cropped to
    the center. Raises UserError."""
    images = []
    for number, data in enumerate(files):
        try:
            image = resize_and_crop(open_image(data), height, width)
        except NotAnImage as error:
            raise UserError(f"image {number} of the data set cannot be read: {error}") from error
        images.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    return torch.stack(images).float() / 127.5 - 1
