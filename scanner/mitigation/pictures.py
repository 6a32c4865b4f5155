"""Pictures and captions of a data set, ready to train on."""

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
class SkippedPicture:
    """A sample that cannot be trained on: its row, its key, and why."""

    row: int
    key: str
    reason: str


@dataclass(frozen=True)
class Pictures:
    """A row a sample. ``png``: the distinct pictures' bytes; ``number``: each row's picture;
    ``skipped``: the rows that cannot be used."""

    keys: list[str]
    captions: list[str]
    png: list[bytes]
    number: list[int]
    skipped: tuple[SkippedPicture, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str, bytes]]) -> "Pictures":
        """Of (key, caption, picture) rows; equal pictures are kept once."""
        keys, captions, places = [], [], []
        number: dict[bytes, int] = {}
        for key, caption, png in rows:
            keys.append(key)
            captions.append(caption)
            places.append(number.setdefault(png, len(number)))
        return cls(keys, captions, list(number), places)

    def __len__(self) -> int:
        return len(self.keys)


def read_pictures(
    url: str,
    caption_column: str | None = None,
    image_column: str | None = None,
    key_column: str | None = None,
) -> Pictures:
    """Rows of a parquet file with a caption and a picture's bytes (or a struct with ``bytes``).

    Columns are found by the names in use; the key is the row's number where there is none. Rows
    without a caption or with a picture that cannot be read are skipped, and kept in ``skipped``.
    Raises UserError if a column is missing, the file is not parquet, or no row can be used.
    """
    keys, captions, values = _read(url, caption_column, image_column, key_column)
    rows, skipped = [], []
    problems: dict[bytes, str] = {}
    for row, (key, caption, value) in enumerate(zip(keys, captions, values, strict=True)):
        name, data = str(row if key is None else key), image_bytes(value)
        if not caption:
            skipped.append(SkippedPicture(row, name, "no caption"))
        elif not data:
            skipped.append(SkippedPicture(row, name, "no bytes of a picture"))
        else:
            if data not in problems:
                problems[data] = _problem(data)
            if problems[data]:
                skipped.append(SkippedPicture(row, name, problems[data]))
            else:
                rows.append((name, str(caption), data))
    if not rows:
        why = "; ".join(f"row {one.row}: {one.reason}" for one in skipped[:SHOWN])
        raise UserError(f"{url}: no row has both a caption and a picture that can be read ({why})")
    return replace(Pictures.of(rows), skipped=tuple(skipped))


def _read(
    url: str, caption_column: str | None, image_column: str | None, key_column: str | None
) -> tuple[Iterable[Any], list[Any], list[Any]]:
    """Keys, captions and pictures of a parquet file's rows."""
    try:
        with open_input(url) as file:
            parquet = open_parquet(file)
            have = list(parquet.schema_arrow.names)
            columns = resolve(have, url, ColumnOptions(caption_column, key_column, keep=()))
            image = image_column or next((h for h in have if h.lower() in IMAGE_DATA_COLUMNS), None)
            if image is None or image not in have:
                raise UserError(
                    f"{url}: no column of pictures {image_column or ''} among {', '.join(have)}; "
                    "name it with --image-column"
                )
            names = list(dict.fromkeys(filter(None, (columns.caption, columns.key, image))))
            table = _columns(url, file, parquet, names)
    except (OSError, ValueError, pa.ArrowException) as error:
        if is_transient(error):
            raise
        why = "no such file" if isinstance(error, FileNotFoundError) else str(error).split("\n")[0]
        raise UserError(
            f"{url}: cannot be read as parquet ({why}); name a parquet file with captions and the "
            "bytes of their pictures"
        ) from error
    captions, pictures = (table[name] for name in (columns.caption, image))
    keys = table[columns.key] if columns.key else range(len(captions))
    return keys, captions, pictures


def _columns(
    url: str, file: IO[bytes], parquet: pq.ParquetFile, names: list[str]
) -> dict[str, list[Any]]:
    """The values of some columns, read in bounded batches. Raises UserError over a limit."""
    values: dict[str, list[Any]] = {name: [] for name in names}
    for batch in bounded_batches(file, parquet, range(parquet.metadata.num_row_groups), names):
        if isinstance(batch, SkippedRows):
            raise UserError(f"{url}: {batch.reason}; write it with smaller pages")
        for name in names:
            values[name] += batch.column(name).to_pylist()
    return values


def _problem(data: bytes) -> str:
    """Why a picture cannot be read, or nothing."""
    try:
        open_image(data)
    except NotAnImage as error:
        return str(error)
    return ""


def decode(png: Sequence[bytes], height: int, width: int) -> Tensor:
    """(N, 3, height, width) in [-1, 1]: scaled to cover the size, the middle cut out."""
    found = []
    for number, data in enumerate(png):
        try:
            picture = resize_and_crop(open_image(data), height, width)
        except NotAnImage as error:
            raise UserError(f"picture {number} of the data set cannot be read: {error}") from error
        found.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return torch.stack(found).float() / 127.5 - 1
