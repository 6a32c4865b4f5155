"""Measure the difference between two score tables of the same captions, per signal."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def differences(reference: pa.Table, other: pa.Table, names: list[str]) -> dict[str, Any]:
    """Return per signal the largest absolute and relative difference, and the largest and root
    mean square in standard deviations over the captions.

    Lists of one length are compared position by position; lists that follow the caption's tokens
    pool their positions. Captions without a finite score in either table are ignored.
    """
    first, second = (_common(a, b) for a, b in ((reference, other), (other, reference)))
    return {name: _difference(_matrix(first[name]), _matrix(second[name])) for name in names}


def _common(table: pa.Table, other: pa.Table) -> pa.Table:
    return table.filter(pc.is_in(table["caption_id"], other["caption_id"].combine_chunks()))


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Return a matrix of captions by positions; of one column if list lengths differ."""
    array = column.combine_chunks()
    if not pa.types.is_list(array.type):
        return array.to_numpy(zero_copy_only=False).astype(float)[:, None]
    values = array.flatten().to_numpy(zero_copy_only=False).astype(float)
    lengths = set(pc.list_value_length(array).to_pylist())
    return values.reshape(-1, lengths.pop() if len(lengths) == 1 else 1)


def _difference(first: np.ndarray, second: np.ndarray) -> dict[str, float | None]:
    gap = np.abs(first - second)
    spread = first.std(axis=0)
    varied = gap[:, spread > 0] / spread[spread > 0]
    relative = gap[first != 0] / np.abs(first[first != 0])
    return {
        "max_absolute": float(gap.max(initial=0)),
        "max_relative": float(relative.max(initial=0)),
        "max_in_deviations": float(varied.max()) if varied.size else None,
        "rms_in_deviations": float(np.sqrt((varied**2).mean())) if varied.size else None,
    }
