"""Write compressed files reproducibly: equal content gives equal bytes."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from scanner.storage import compression_of


@contextmanager
def open_compressed(target: Path) -> Iterator[Any]:
    """Open ``target`` for writing binary data, compressed as its name's ending says."""
    with target.open("wb") as file:
        compression = compression_of(target.name)
        if compression == "gzip":
            # The defaults would put the file's name and the time into the header.
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed:
                yield compressed
        elif compression:
            with pa.CompressedOutputStream(file, compression) as compressed:
                yield compressed
        else:
            yield file
