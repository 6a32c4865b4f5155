"""A file of a store that is open for reading, by ranges through the file system's own requests."""

from typing import Any

from fsspec.spec import AbstractBufferedFile


class RangedFile(AbstractBufferedFile):
    """Read ahead in blocks of 5 MiB; every range is one request that waits for outages to end.

    The files of gcsfs and adlfs start their own threads and clients instead.
    """

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start=start, end=end)


def open_ranged(fs: Any, path: str, mode: str, options: dict[str, Any]) -> RangedFile:
    """Open a file for reading. Raises ValueError for another mode."""
    if mode != "rb":
        raise ValueError(f"files of this store open with mode 'rb' only, got {mode!r}")
    kept = {name: options[name] for name in ("cache_options", "cache_type") if name in options}
    return RangedFile(fs, path, mode, options.get("block_size") or "default", **kept)
