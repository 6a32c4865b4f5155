"""Control variables computed from a caption's text only."""

import pyarrow as pa

from scanner.models import Tokens
from scanner.run.schema import column

CONTROL_FIELDS = (
    column(
        "n_tokens",
        pa.int32(),
        "tokens with any beginning token and the end token, after truncation",
    ),
    column("title_case_fraction", pa.float32(), "share of words in title case", "share"),
    column("digit_fraction", pa.float32(), "share of characters that are digits", "share"),
)


def title_case_fraction(caption: str) -> float:
    words = caption.split()
    return sum(word.istitle() for word in words) / len(words) if words else 0.0


def digit_fraction(caption: str) -> float:
    return sum(map(str.isdigit, caption)) / len(caption) if caption else 0.0


def text_columns(captions: list[str], tokens: Tokens) -> dict[str, pa.Array]:
    """Return the control columns, and whether each caption was truncated."""
    return {
        "n_tokens": pa.array(tokens.n_B.tolist(), pa.int32()),
        "title_case_fraction": pa.array(map(title_case_fraction, captions), pa.float32()),
        "digit_fraction": pa.array(map(digit_fraction, captions), pa.float32()),
        "truncated": pa.array(tokens.truncated, pa.bool_()),
    }
