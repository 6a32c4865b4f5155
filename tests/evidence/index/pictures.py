"""Small images that differ, and data sets of them."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(number: int, size: int = 24) -> Image.Image:
    """A random image of 4 × 4 colored squares, the same for equal numbers."""
    colors = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(colors).resize((size, size), Image.Resampling.NEAREST)


def encoded(number: int, form: str = "PNG", size: int = 24) -> bytes:
    data = io.BytesIO()
    picture(number, size).save(data, form)
    return data.getvalue()


def write_shard(path: Path, numbers: list[int | bytes | None], **options) -> Path:
    """A shard whose rows show the pictures of these numbers; bytes stand for themselves."""
    images = [encoded(n) if isinstance(n, int) else n for n in numbers]
    urls = [f"https://images.example/{n}" if isinstance(n, int) else None for n in numbers]
    keys = [f"{path.stem}-{row}" for row in range(len(numbers))]
    captions = [f"caption {row}" for row in range(len(numbers))]
    columns = {"key": keys, "caption": captions, "url": urls, "jpg": pa.array(images, pa.binary())}
    pq.write_table(pa.table(columns), path, **options)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
