"""Load the testbed's images as a bank of tensors, and map captions to their images."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

SETS = ("train", "heldout")


def bank_and_owners(data: Path) -> tuple[Tensor, list[set[int]], pa.Table]:
    """Return every image (N, 3, H, W) in [-1, 1], training images first; the image numbers of each
    caption; and the groups table."""
    columns = ["caption", "url", "image"]
    tables = [pq.read_table(data / f"{name}.parquet", columns=columns) for name in SETS]
    rows = pa.concat_tables(tables)
    files = dict(zip(rows["url"].to_pylist(), rows["image"].to_pylist(), strict=True))
    number = {url: index for index, url in enumerate(files)}
    images: dict[str, set[int]] = {}
    for caption, url in zip(rows["caption"].to_pylist(), rows["url"].to_pylist(), strict=True):
        images.setdefault(caption, set()).add(number[url])
    groups = pq.read_table(data / "groups.parquet")
    bank = torch.stack([_decode(png) for png in files.values()])
    return bank, [images[caption] for caption in groups["caption"].to_pylist()], groups


def training_rows(data: Path) -> tuple[list[str], Tensor]:
    """Return the caption and the image number in the bank of each row of the training set."""
    table = pq.read_table(data / "train.parquet", columns=["caption", "url"])
    number = {url: index for index, url in enumerate(dict.fromkeys(table["url"].to_pylist()))}
    rows = torch.tensor([number[url] for url in table["url"].to_pylist()])
    return table["caption"].to_pylist(), rows


def _decode(png: bytes) -> Tensor:
    pixels = np.array(Image.open(io.BytesIO(png)))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1
