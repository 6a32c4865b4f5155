"""Convert column values to text for the samples table, and to captions."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.captions.batch import Values
from scanner.captions.text import decoded, stored_bytes_of, text_of, valid_text

NOT_UTF8 = "caption is not UTF-8; save the file as UTF-8"
_JSON_TYPES = {bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


def as_text(values: Values) -> pa.StringArray:
    """Return values as text by the rules of :mod:`scanner.captions.text`, also for JSON values."""
    if isinstance(values, pa.Array):
        return text_of(values)
    return pa.array([_text(value) for value in values], pa.string())


def captions(values: Values) -> tuple[pa.StringArray, dict[int, str]]:
    """Return captions (null if unusable), and the reasons by index."""
    if not isinstance(values, pa.Array):
        return _each(values)
    values = decoded(values)
    text = valid_text(values)
    if text is not None:
        missing = np.flatnonzero(pc.is_null(text).to_numpy(zero_copy_only=False))
        return text, dict.fromkeys(missing.tolist(), "null caption")
    stored = stored_bytes_of(values)
    if stored is not None:
        return _each(stored)
    wrong = f"caption must be text, got {values.type}"
    null = pc.is_null(values).to_numpy(zero_copy_only=False).tolist()
    reasons = {at: "null caption" if none else wrong for at, none in enumerate(null)}
    return pa.nulls(len(values), pa.string()), reasons


def first_valid(values: Values, others: Values) -> Values:
    """Return ``values``, with nulls replaced from ``others``."""
    if isinstance(values, list) and isinstance(others, list):
        return [two if one is None else one for one, two in zip(values, others, strict=True)]
    return pc.coalesce(as_text(values), as_text(others))


def _each(values: list) -> tuple[pa.StringArray, dict[int, str]]:
    reasons: dict[int, str] = {}
    texts: list[str | None] = []
    for place, value in enumerate(values):
        value = _decoded(value)
        reason = _no_caption(value)
        if reason:
            reasons[place] = reason
        texts.append(None if reason else value)
    return pa.array(texts, pa.string()), reasons


def _decoded(value: Any) -> Any:
    """Decode bytes that are valid UTF-8; return other values unchanged."""
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
        return "caption is not UTF-8"
    if not isinstance(value, str):
        return f"caption must be text, got {_JSON_TYPES.get(type(value), type(value).__name__)}"
    return why_not_text(value)


def why_not_text(value: str) -> str:
    """Return why text cannot be stored, "" if it can."""
    try:
        value.encode()
    except UnicodeEncodeError:
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return "caption is not valid Unicode"
        return NOT_UTF8  # bytes that reading kept as surrogates
    return ""


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float):
        return str(text_of(pa.array([value], pa.float64()))[0])
    if isinstance(value, bool | list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return value.hex() if isinstance(_decoded(value), bytes) else value.decode()
    return _encodable(str(value))


def _encodable(text: str) -> str:
    """Return UTF-8 encodable text: undecodable bytes in hex, lone surrogates replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-8", "surrogateescape").hex()
        except UnicodeEncodeError:
            return text.encode("utf-8", "replace").decode()
    return text
