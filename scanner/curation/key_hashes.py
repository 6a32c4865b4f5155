"""128-bit hashes of keys and URLs, in the format of DataComp's lists of uids."""

import hashlib
import io
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from scanner.errors import UserError
from scanner.storage import open_input

# A uid is 32 hex digits: its first 16 digits, then its last 16, each as an unsigned integer.
# https://github.com/mlfoundations/datacomp, "Selecting samples in the FixedPools track", and
# webdataset-resharder/resharder.py, which looks uids up by binary search and repeats a sample as
# often as the file repeats its uid.
HASH = np.dtype("u8,u8")
HASH_BYTES = 16
# Of an array that is read into memory: 64 Mi hashes.
LARGEST_BYTES = 1 << 30
# As Python and DuckDB read it.
UID = "[0-9a-fA-F]{32}"
_UID = re.compile(UID)


def hash_key(key: str) -> bytes:
    """Return the 16 bytes of a key: a uid's own, else the first 128 bits of the SHA-256."""
    if _UID.fullmatch(key):
        return bytes.fromhex(key)
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:HASH_BYTES]


def sql_hash(column: str) -> str:
    """Return the same as SQL, in 32 hex digits; ``column``: trusted SQL."""
    return (
        f"CASE WHEN regexp_full_match({column}, '{UID}') THEN lower({column}) "
        f"ELSE left(sha256({column}), 32) END"
    )


def hash_keys(keys: Iterable[str]) -> np.ndarray:
    """Return the hashes of N keys (N,), in their order."""
    return _as_hashes(b"".join(map(hash_key, keys)))


def hashes_of_hex(digits: pa.Array) -> np.ndarray:
    """Return hashes given as 32 hex digits each (N,)."""
    return _as_hashes(bytes.fromhex("".join(digits.to_pylist())))


def hex_of_hashes(hashes: np.ndarray) -> list[str]:
    """Return hashes as 32 hex digits each."""
    return [f"{high:016x}{low:016x}" for high, low in hashes.tolist()]


def is_in(hashes: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return which of N hashes are in a sorted array (N,), by binary search."""
    if not len(ordered):
        return np.zeros(len(hashes), bool)
    places = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
    return ordered[places] == hashes


def load_hashes(url: str) -> np.ndarray:
    """Return the hashes in a .npy file: of a local one mapped into memory, without reading it.

    Raises UserError if it is not an array of hashes, or not local and over ``LARGEST_BYTES``.
    """
    try:
        if "://" in url:
            hashes = np.load(io.BytesIO(_read(url)), allow_pickle=False)
        else:
            hashes = np.load(url, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{url}: cannot be read as an array: {error}") from error
    if not isinstance(hashes, np.ndarray):
        raise UserError(f"{url}: must be one array (.npy), got an archive of arrays (.npz)")
    if hashes.dtype != HASH or hashes.ndim != 1:
        raise UserError(f"{url}: must be an array of dtype u8,u8, got {hashes.dtype}")
    return hashes


def _read(url: str) -> bytes:
    with open_input(url) as file:
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise UserError(f"{url}: over {LARGEST_BYTES >> 20} MiB; download it and name the copy")
    return data


class HashWriter:
    """Writes hashes to a .npy file as they come; the header is completed when it is closed."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._file = path.open("wb")
        self._write_header()

    def write(self, hashes: np.ndarray) -> None:
        self._file.write(hashes.tobytes())
        self.rows += len(hashes)

    def __enter__(self) -> "HashWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        # numpy pads the header for a shape to grow in place.
        shape = (self.rows,)
        record = {"descr": HASH.descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, record)


def _as_hashes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, ">u8").astype("u8").view(HASH)
