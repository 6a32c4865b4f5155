"""Pictures and captions of a data set, ready to train on."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from scanner.captions.columns import ColumnOptions, resolve
from scanner.captions.pictures import PICTURE_NAMES, fitted, picture_bytes
from scanner.errors import UserError
from scanner.storage import open_input


@dataclass(frozen=True)
class Pictures:
    """A row a sample. ``png``: the distinct pictures' bytes; ``number``: each row's picture."""

    keys: list[str]
    captions: list[str]
    png: list[bytes]
    number: list[int]

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
    without a caption or a picture are passed over. Raises UserError if a column is missing.
    """
    with open_input(url) as file:
        parquet = pq.ParquetFile(file)
        have = list(parquet.schema_arrow.names)
        columns = resolve(have, url, ColumnOptions(caption_column, key_column, keep=()))
        image = image_column or next((h for h in have if h.lower() in PICTURE_NAMES), None)
        if image is None or image not in have:
            raise UserError(
                f"{url}: no column of pictures {image_column or ''} among {', '.join(have)}; name "
                "it with --image-column"
            )
        names = list(dict.fromkeys(filter(None, (columns.caption, columns.key, image))))
        table = parquet.read(columns=names)
    captions, pictures = (table[name].to_pylist() for name in (columns.caption, image))
    keys = table[columns.key].to_pylist() if columns.key else range(len(captions))
    found = Pictures.of(
        (str(key), str(caption), data)
        for key, caption, data in zip(keys, captions, map(picture_bytes, pictures), strict=True)
        if caption and data
    )
    if not len(found):
        raise UserError(f"{url}: no row has both a caption and a picture")
    return found


def decode(png: Sequence[bytes], height: int, width: int) -> Tensor:
    """(N, 3, height, width) in [-1, 1]: scaled to cover the size, the middle cut out."""
    found = []
    for number, data in enumerate(png):
        try:
            picture = fitted(Image.open(io.BytesIO(data)), height, width)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"picture {number} of the data set cannot be read: {error}") from error
        found.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return torch.stack(found).float() / 127.5 - 1
