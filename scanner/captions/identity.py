"""Caption ids: equal exactly for captions with equal canonical text."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

DIGITS = 32


def caption_id(canonical: str) -> str:
    """Return the first 128 bits of the SHA-256 of the canonical text (UTF-8), as 32 hex digits.

    Any engine can recompute it; in DuckDB: ``left(sha256(canonical), 32)``. It is stored as text
    since not every Parquet reader supports UUID columns, and zstd compresses both to 16 bytes.
    """
    return hashlib.sha256(canonical.encode()).hexdigest()[:DIGITS]


def normalize_like_clip(caption: str) -> str:
    """Normalize a caption as CLIP's tokenizers do before they split it into tokens."""
    return " ".join(unicodedata.normalize("NFC", caption).split()).lower()


def is_caption_id(text: object) -> bool:
    """Return whether a value is a caption id, and therefore safe in a file name."""
    return isinstance(text, str) and re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", text) is not None


def caption_ids(canonical: Iterable[str]) -> pa.StringArray:
    """Return the ids of many texts without creating a Python string for each."""
    sha256 = hashlib.sha256
    digits = b"".join(sha256(text.encode()).digest()[: DIGITS // 2] for text in canonical).hex()
    offsets = np.arange(0, len(digits) + 1, DIGITS, dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(digits.encode())
    )
