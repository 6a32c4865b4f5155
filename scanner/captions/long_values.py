"""Split Arrow columns into batches of bounded size, with values over the limit set to null."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.captions.batch import Batch
from scanner.captions.limits import BATCH_BYTES, CAPTION_BYTES, OVER, REPEATED_BYTES

_REPEATED = f"repeated to over {REPEATED_BYTES >> 30} GiB"


def within_limits(columns: dict[str, pa.Array], rows: range) -> Iterator[Batch]:
    """Yield batches of about BATCH_BYTES, with dictionaries decoded and long values null."""
    over: dict[int, tuple[str, str]] = {}
    sizes = np.zeros(len(rows), np.int64)
    for name, values in columns.items():
        lengths = value_bytes(values)
        if lengths is None:
            continue
        long, repeated = lengths > CAPTION_BYTES, np.zeros(len(rows), bool)
        if lengths.sum() > REPEATED_BYTES and lengths[~long].sum() > REPEATED_BYTES:
            repeated = ~long & (lengths > REPEATED_BYTES // len(rows))
        found = np.flatnonzero(long | repeated)
        if len(found):
            columns = {**columns, name: _without(values, found)}
            over = {at: (name, OVER if long[at] else _REPEATED) for at in found.tolist()} | over
        sizes += np.where(long | repeated, 0, lengths)
    # Split where another BATCH_BYTES is full.
    which = np.cumsum(sizes) // BATCH_BYTES
    bounds = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), len(rows)]
    for start, end in pairwise(bounds):
        yield Batch(
            rows[start:end],
            {name: _decoded(values[start:end]) for name, values in columns.items()},
            [],
            over={at - start: over[at] for at in range(start, end) if at in over} if over else {},
        )


def value_bytes(values: pa.Array) -> np.ndarray | None:
    """Return the bytes of each value (0 for nulls); None for types without long values."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        lengths = value_bytes(values.dictionary)
        if lengths is None:
            return None
        places = pc.fill_null(values.indices, 0).to_numpy(zero_copy_only=False)
        found = lengths[places] if len(lengths) else np.zeros(len(values), np.int64)
        return np.where(pc.is_null(values.indices).to_numpy(zero_copy_only=False), 0, found)
    if isinstance(kind, pa.BaseExtensionType):
        return value_bytes(values.storage)
    if pa.types.is_fixed_size_binary(kind):
        return np.full(len(values), kind.byte_width, np.int64)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        values = values.cast(pa.large_binary())
    elif not (_is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return None
    lengths = pc.fill_null(pc.binary_length(values), 0)
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _without(values: pa.Array, indices: np.ndarray) -> pa.Array:
    """Return values with those at given indices set to null."""
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    is_dictionary = pa.types.is_dictionary(values.type)
    mask = np.zeros(len(values), bool)
    mask[indices] = True
    if not is_dictionary:
        keep = np.arange(len(values), dtype=np.int64)
        return values.take(pa.array(keep, mask=mask))
    codes = pc.if_else(pa.array(mask), None, values.indices)
    return pa.DictionaryArray.from_arrays(codes, values.dictionary)


def _decoded(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
