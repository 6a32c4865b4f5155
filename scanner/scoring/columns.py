"""Convert values of signals to Arrow columns."""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor


def column_of(values: Tensor, lengths: Tensor | None = None) -> pa.Array:
    """Convert (B,) to float32, (B, K) to lists, truncated to ``lengths`` (B,) if given."""
    if values.ndim == 1:
        return pa.array(values.numpy())
    rows, width = values.shape
    if lengths is None:
        lengths = torch.full((rows,), width)
    kept = values[torch.arange(width) < lengths[:, None]]
    offsets = np.concatenate([[0], np.cumsum(lengths.numpy())]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(kept.numpy()))


def not_finite(column: pa.ChunkedArray) -> np.ndarray:
    """Return a mask of the rows that contain NaN or an infinity, also inside a list."""
    array = column.combine_chunks()
    if not pa.types.is_list(array.type):
        return ~np.isfinite(array.to_numpy(zero_copy_only=False))
    broken = ~np.isfinite(array.flatten().to_numpy(zero_copy_only=False))
    sums = np.concatenate([[0], np.cumsum(broken)])
    offsets = np.asarray(array.offsets) - array.offsets[0].as_py()
    return sums[offsets[1:]] > sums[offsets[:-1]]
