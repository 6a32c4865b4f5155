"""Find the training images nearest to some images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scanner.captions.images import NotAnImage
from scanner.captions.limits import IMAGE_BYTES
from scanner.errors import UserError
from scanner.evidence.embedding_file import EmbeddingFile
from scanner.evidence.index.embedders import Embedder
from scanner.evidence.index.index_files import Index, open_index
from scanner.evidence.index.search import search
from scanner.run.results import DamagedPart
from scanner.storage import open_input


@dataclass(frozen=True)
class Found:
    """The nearest images per query (scanner.evidence.index.search.NEAREST), and the default
    threshold of a copy for their embedding."""

    index: Index
    nearest: pa.Table
    match: float


def find_images(
    files: Sequence[str],
    url: str,
    top: int,
    file: EmbeddingFile | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, images: None,
) -> Found:
    """Return the ``top`` images of an index nearest to each file, in this process.

    ``progress`` is called with the images compared so far, and all images. Raises UserError if a
    file is not an image, or the index cannot be read.
    """
    index = open_index(url)
    embedder = index.embedder(file, device)
    queries = embedder.vectors([_read(name, embedder) for name in files])
    try:
        nearest = search(
            index.shards, queries, top, device, lambda done: progress(done, index.images)
        )
    except DamagedPart as error:
        raise damaged_index(index, error) from error
    return Found(index, nearest, embedder.match)


def damaged_index(index: Index, error: DamagedPart) -> UserError:
    """Return the error for a damaged shard."""
    return UserError(
        f"{index.url}: {error}; restore the file, or remove the index and make it again"
    )


def _read(name: str, embedder: Embedder) -> np.ndarray:
    try:
        with open_input(name) as file:
            return embedder.decode(file.read(IMAGE_BYTES + 1))
    except NotAnImage as error:
        raise UserError(f"{name}: {error}; give a PNG, JPEG, WebP, GIF or BMP file") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read: {error}") from error
