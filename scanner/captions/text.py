"""Convert Arrow columns of any type to text with Arrow's casts.

Whole numbers become integers whatever their type, bytes that are not UTF-8 become hex, a uuid keeps
its dashes, and lists, structs and maps become JSON. Dates and times are written as Arrow writes
them, in UTC if the time zone is unknown.
"""

import json
import uuid
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Whole doubles below this magnitude are written with all digits.
WHOLE = 2.0**63
# Text and binary types, and the type to view their bytes as.
_TEXT = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
    pa.binary(): pa.binary(),
    pa.large_binary(): pa.large_binary(),
    pa.binary_view(): pa.binary_view(),
}
_Lists: TypeAlias = pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray


def text_of(values: pa.Array) -> pa.StringArray:
    """Return every value as text; only nulls stay null."""
    values = decoded(values)
    kind = values.type
    valid = valid_text(values)
    if valid is not None:
        return valid
    stored = stored_bytes_of(values)
    if stored is not None:
        texts = [one if one is None else _bytes_text(one) for one in stored]
        return pa.array(texts, pa.string())
    if pa.types.is_nested(kind):
        texts = _json(values)
        return pc.if_else(values.is_valid(), texts, pa.scalar(None, texts.type)).cast(pa.string())
    if pa.types.is_floating(kind):
        return _float_text(values)
    return _cast(values)


def decoded(values: pa.Array) -> pa.Array:
    """Remove dictionary, run-end and extension encoding; a uuid becomes text."""
    kind = values.type
    while True:
        if isinstance(kind, pa.UuidType):
            stored = values.storage.to_pylist()
            texts = [one and str(uuid.UUID(bytes=one)) for one in stored]
            values = pa.array(texts, pa.string())
        elif isinstance(kind, pa.BaseExtensionType):
            values = values.storage
        elif pa.types.is_dictionary(kind):
            values = values.dictionary_decode()
        elif pa.types.is_run_end_encoded(kind):
            values = pc.run_end_decode(values)
        else:
            return values
        kind = values.type


def valid_text(values: pa.Array) -> pa.StringArray | None:
    """Return text or bytes as text, or None if a value is not UTF-8 or the type is not text."""
    if values.type not in _TEXT:
        return None
    try:
        # Casting bytes checks that they are UTF-8; a file's text columns may be invalid.
        text = values.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return text


def stored_bytes_of(values: pa.Array) -> list[bytes | None] | None:
    """Return the bytes of a text or binary column, None for other types."""
    kind = values.type
    if pa.types.is_fixed_size_binary(kind):
        return values.to_pylist()
    return values.view(_TEXT[kind]).to_pylist() if kind in _TEXT else None


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _float_text(values: pa.Array) -> pa.StringArray:
    if values.type == pa.float16():
        values = values.cast(pa.float32())
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
    whole = (np.abs(numbers) < WHOLE) & (np.trunc(numbers) == numbers)  # nan is neither
    integers = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.string())
    return pc.if_else(pa.array(whole), integers, values.cast(pa.string()))


def _cast(values: pa.Array) -> pa.StringArray:
    kind = values.type
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if pa.types.is_timestamp(kind) and kind.tz:  # a zone that this machine does not know
            return values.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.string())
        if len(values) > 1:
            return pa.concat_arrays([_cast(values.slice(at, 1)) for at in range(len(values))])
        return pa.array(list(map(_shown, values)), pa.string())


def _shown(value: pa.Scalar) -> str | None:
    """Return what Arrow has no cast for, such as an interval."""
    if not value.is_valid:
        return None
    if pa.types.is_interval(value.type):
        months, days, nanoseconds = value.as_py()
        return f"{months} months {days} days {nanoseconds} ns"
    try:
        return str(value.as_py())
    except (ValueError, OverflowError, pa.ArrowException):
        return f"a {value.type} that cannot be shown"


def _json(values: pa.Array) -> pa.StringArray:
    """Return each value as JSON, null included."""
    values = decoded(values)
    kind = values.type
    if values.null_count == len(values):
        # Arrow flattens no lists of nested extension types where all are null.
        return pa.repeat("null", len(values))
    if pa.types.is_map(kind):
        texts = _json_map(values)
    elif pa.types.is_struct(kind):
        names = [kind.field(at).name for at in range(kind.num_fields)]
        texts = _json_struct(len(values), names, values.flatten())
    elif pa.types.is_nested(kind) and not pa.types.is_union(kind):
        texts = _joined(values, _json(_children(values)), "[", "]")
    elif _bare(kind):
        texts = text_of(values)
        if pa.types.is_floating(kind):
            texts = pc.if_else(pc.is_finite(values), texts, _quoted(texts))
    else:
        texts = _quoted(_cast(values) if pa.types.is_union(kind) else text_of(values))
    return pc.if_else(values.is_valid(), texts, "null")


def _children(lists: _Lists) -> pa.Array:
    """Return the values of all lists, in order."""
    try:
        return lists.flatten()
    except pa.ArrowNotImplementedError:
        # Arrow cannot gather the values of extension types, such as uuid, from list views.
        found = [one.values for one in lists if one.is_valid and len(one.values)]
        return pa.concat_arrays(found) if found else pa.array([], pa.string())


def _bare(kind: pa.DataType) -> bool:
    """Return whether JSON represents this type natively rather than as a string."""
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )


def _quoted(texts: pa.StringArray) -> pa.StringArray:
    encoded = [
        one if one is None else json.dumps(one, ensure_ascii=False) for one in texts.to_pylist()
    ]
    return pa.array(encoded, pa.string())


def _json_struct(rows: int, names: Sequence[str], fields: Sequence[pa.Array]) -> pa.StringArray:
    parts: list[pa.Array | str] = ["{"]
    for at, (name, field) in enumerate(zip(names, fields, strict=True)):
        parts += [f"{', ' if at else ''}{json.dumps(name, ensure_ascii=False)}: ", _json(field)]
    if not fields:
        return pa.repeat(pa.scalar("{}"), rows)
    return pc.binary_join_element_wise(*parts, "}", "")


def _json_map(values: pa.MapArray) -> pa.StringArray:
    first, last = values.offsets[0].as_py(), values.offsets[-1].as_py()
    keys = values.keys.slice(first, last - first)
    items = values.items.slice(first, last - first)
    pairs = pc.binary_join_element_wise(_quoted(text_of(keys)), _json(items), ": ")
    return _joined(values, pairs, "{", "}")


def _joined(lists: _Lists, children: pa.Array, opening: str, closing: str) -> pa.StringArray:
    """Return each list's child texts joined between brackets."""
    if pa.types.is_map(lists.type):
        lengths = np.diff(lists.offsets.to_numpy())
    else:
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    regrouped = pa.LargeListArray.from_arrays(pa.array(offsets), children)
    inside = pc.binary_join(regrouped, ", ")
    return pc.binary_join_element_wise(opening, inside, closing, "")
