"""Column values as text: as a table carries them, and as captions."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.captions.batch import Values

# The types that hold text, and what to see its bytes as.
_TEXT = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
    pa.binary(): pa.binary(),
    pa.large_binary(): pa.large_binary(),
    pa.binary_view(): pa.binary_view(),
}


def as_text(values: Values) -> pa.StringArray:
    """Values as text: bytes that are no UTF-8 in hex, lone surrogates (no text) replaced."""
    if isinstance(values, pa.Array):
        text = _valid_text(values)
        if text is not None:
            return text
        if pa.types.is_integer(values.type):
            return values.cast(pa.string())
        values = _values(values)
    return pa.array([_text(value) for value in values], pa.string())


def captions(values: Values) -> tuple[pa.StringArray, dict[int, str]]:
    """Captions, null where there is none, and why not, by place."""
    if isinstance(values, pa.Array):
        text = _valid_text(values)
        if text is not None:
            missing = np.flatnonzero(pc.is_null(text).to_numpy(zero_copy_only=False))
            return text, dict.fromkeys(missing.tolist(), "null caption")
        values = _values(values)
    reasons: dict[int, str] = {}
    texts: list[str | None] = []
    for place, value in enumerate(values):
        value = _decoded(value)
        reason = _no_caption(value)
        if reason:
            reasons[place] = reason
        texts.append(None if reason else value)
    return pa.array(texts, pa.string()), reasons


def _valid_text(values: pa.Array) -> pa.StringArray | None:
    """Text or bytes as text, or None where a value is no UTF-8 or no text at all."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if values.type not in _TEXT:
        return None
    try:
        # Casting bytes looks whether they are UTF-8; a file's text is taken on trust.
        text = values.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return text


def _values(values: pa.Array) -> list:
    """As Python values; text that may be no UTF-8 as bytes."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    stored = _TEXT.get(values.type)
    return (values.view(stored) if stored else values).to_pylist()


def _decoded(value: Any) -> Any:
    """Bytes as the text they spell in UTF-8, where they do; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _no_caption(value: Any) -> str:
    if value is None:
        return "null caption"
    if isinstance(value, bytes):
        return "caption is not valid Unicode"
    if not isinstance(value, str):
        return f"caption is no text but {type(value).__name__}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "caption is not valid Unicode"
    return ""


def _text(value: Any) -> str | None:
    value = _decoded(value)
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.hex()
    return str(value).encode("utf-8", "replace").decode()
