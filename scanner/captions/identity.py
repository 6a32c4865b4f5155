"""When two captions are the same caption, and its name."""

import hashlib
import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

DIGITS = 32


def caption_id(canonical: str) -> str:
    """The first 128 bits of the SHA-256 of the canonical text in UTF-8, as 32 hex digits.

    Any engine can compute it again, in DuckDB ``left(sha256(canonical), 32)``. It is text since
    not every Parquet reader shows a UUID column as one, and zstd packs both into 16 bytes.
    """
    return hashlib.sha256(canonical.encode()).hexdigest()[:DIGITS]


def is_caption_id(text: object) -> bool:
    """Whether a value is an id of :func:`caption_id`, which may become part of a file's name."""
    return isinstance(text, str) and re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", text) is not None


def caption_ids(canonical: Iterable[str]) -> pa.StringArray:
    """The ids of many texts, without making each one a Python string."""
    sha256 = hashlib.sha256
    digits = b"".join(sha256(text.encode()).digest()[: DIGITS // 2] for text in canonical).hex()
    offsets = np.arange(0, len(digits) + 1, DIGITS, dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(digits.encode())
    )
