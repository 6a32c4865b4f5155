"""When two captions are the same caption, and its name."""

import hashlib


def caption_id(canonical: str) -> str:
    """The first 128 bits of the SHA-256 of the canonical text in UTF-8, as 32 hex digits.

    Any engine can compute it again, in DuckDB ``left(sha256(canonical), 32)``. It is text since
    not every Parquet reader shows a UUID column as one, and zstd packs both into 16 bytes.
    """
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
