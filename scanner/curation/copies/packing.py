"""Write a file that is packed as its name says; the same content gives the same bytes."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from scanner.storage import compression_of


@contextmanager
def write_packed(target: Path) -> Iterator[Any]:
    """A binary file to write ``target`` through."""
    with target.open("wb") as file:
        compression = compression_of(target.name)
        if compression == "gzip":
            # gzip would put the file's name and the time into its header.
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                yield packed
        elif compression:
            with pa.CompressedOutputStream(file, compression) as packed:
                yield packed
        else:
            yield file
