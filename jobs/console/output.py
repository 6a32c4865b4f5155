"""Write a command's result to a file at a path or URL."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from scanner.errors import UserError
from scanner.storage import Store, full_url


def write_out(url: str, fill: Callable[[IO[bytes]], object]) -> int:
    """Write a file atomically, creating its folder; return its size in bytes.

    ``fill`` writes to an open local file. Raises UserError if the file cannot be written.
    """
    folder, _, name = full_url(url).rpartition("/")
    if not name:
        raise UserError(f"--out {url}: is a folder; give a file name")
    with tempfile.NamedTemporaryFile() as file:
        fill(file)
        file.flush()
        try:
            Store(folder, single_writer=True).upload(Path(file.name), name)
        except OSError as error:
            raise UserError(f"--out {url}: cannot be written: {error}") from error
        return Path(file.name).stat().st_size
