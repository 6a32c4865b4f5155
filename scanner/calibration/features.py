"""Which columns of the scores a combination looks at, and their numbers."""

import numpy as np
import pyarrow as pa

from scanner.calibration.separation import Floats

TEXT_ONLY = ("n_tokens", "title_case_fraction", "digit_fraction")
# What is read off the cross-attention of one step; tests hold it to the catalogue.
ATTENTION = (
    "entropy_e",
    "entropy_layers",
    "bos_mass",
    "prompt_mass",
    "summary_mass",
    "bos_mass_layers",
    "summary_mass_layers",
)


def way(field: pa.Field) -> int:
    """+1 if memorized captions have higher values, −1 if lower, 0 if the column is no signal."""
    documented = (field.metadata or {}).get(b"memorized", b"")
    return {b"higher": 1, b"lower": -1}.get(documented, 0)


def scalar_signals(schema: pa.Schema) -> dict[str, int]:
    """Signals with one number a caption, and which way memorized captions lie."""
    return {f.name: way(f) for f in schema if pa.types.is_floating(f.type) and way(f)}


def layer_signals(schema: pa.Schema) -> list[str]:
    """Signals with a number a layer."""
    return [f.name for f in schema if f.name.endswith("_layers") and way(f)]


def inputs(schema: pa.Schema) -> list[str]:
    """What a combination is made of: never the text controls nor n_samples, by which labelled
    sets are often chosen."""
    taken = {*scalar_signals(schema), *layer_signals(schema)}
    return [name for name in schema.names if name in taken]


def matrix(table: pa.Table, names: list[str]) -> tuple[Floats, list[int]]:
    """The columns side by side, (N, K), a list column as one for each element; and how many of
    the K each name has."""
    parts = []
    for name in names:
        values = np.array(table[name].to_pylist(), dtype=float)
        parts.append(values.reshape(len(table), -1))
    return np.hstack(parts), [part.shape[1] for part in parts]
