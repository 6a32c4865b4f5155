"""Select the score columns that a combination uses, and read them as a matrix."""

import re

import numpy as np
import pyarrow as pa

from scanner.calibration.statistics.bootstrap import Floats

TEXT_ONLY = ("n_tokens", "title_case_fraction", "digit_fraction")
# Signals of the attention to the text in one forward, without the forward's noise level; a test
# compares the list with the catalog.
ATTENTION_SIGNALS = (
    "entropy_e",
    "entropy_layers",
    "bos_mass",
    "prompt_mass",
    "summary_mass",
    "bos_mass_layers",
    "summary_mass_layers",
    "text_share",
    "text_share_layers",
)


def is_attention_signal(name: str) -> bool:
    """Return whether a column is one of ATTENTION_SIGNALS, at any noise level."""
    return re.sub(r"_(low|mid|\d+)$", "", name) in ATTENTION_SIGNALS


def direction(field: pa.Field) -> int:
    """Return +1 if memorized captions have higher values, −1 if lower, 0 if not a signal."""
    documented = (field.metadata or {}).get(b"memorized", b"")
    return {b"higher": 1, b"lower": -1}.get(documented, 0)


def scalar_signals(schema: pa.Schema) -> dict[str, int]:
    """Return the direction of each signal with one value per caption."""
    return {f.name: direction(f) for f in schema if pa.types.is_floating(f.type) and direction(f)}


def layer_signals(schema: pa.Schema) -> list[str]:
    """Return the signals with one value per layer."""
    return [f.name for f in schema if pa.types.is_list(f.type) and direction(f)]


def combination_inputs(schema: pa.Schema) -> list[str]:
    """Return the columns of a combination: all signals, but neither text controls nor n_samples,
    since labeled sets are often chosen by those."""
    taken = {*scalar_signals(schema), *layer_signals(schema)}
    return [name for name in schema.names if name in taken]


def feature_matrix(table: pa.Table, names: list[str]) -> tuple[Floats, list[int]]:
    """Return the columns as a matrix (N, K), one per element of a list column, and the number of
    the K columns that each name contributes."""
    parts = []
    for name in names:
        values = np.array(table[name].to_pylist(), dtype=float)
        parts.append(values.reshape(len(table), -1))
    return np.hstack(parts), [part.shape[1] for part in parts]
