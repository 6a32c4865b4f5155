"""Write a file that is gzipped where its name says so; the same content gives the same bytes."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def write_packed(target: Path) -> Iterator[Any]:
    """A binary file to write ``target`` through."""
    with target.open("wb") as file:
        if target.name.lower().endswith(".gz"):
            # gzip would put the file's name and the time into its header.
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                yield packed
        else:
            yield file
