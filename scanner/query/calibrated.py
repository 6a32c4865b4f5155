"""A calibration as queries use it: weights and thresholds for columns of the scores table.

scanner.calibration fits and stores it; this module turns it into SQL.
"""

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.errors import UserError
from scanner.query.quoting import identifier

COMBINATION = "combination"
# The entries of a run's fingerprint that a calibration depends on: not dtype or release, so a new
# one does not invalidate it.
BOUND = ("weights", "signals_version", "signals", "seeds", "steps", "guidance", "latent_shape")
THRESHOLDS = pa.schema(
    [
        pa.field("signal", pa.string()),
        pa.field("threshold", pa.float64()),
        pa.field("higher", pa.bool_()),
        pa.field("false_positive_rate", pa.float64()),
    ]
)


@dataclass(frozen=True)
class SignalThreshold:
    """A signal's threshold: flags captions at or above it if ``higher``, else at or below.

    ``signal``: a column of the scores, or ``combination`` for the logit of the probability.
    """

    signal: str
    threshold: float
    higher: bool
    false_positive_rate: float


@dataclass(frozen=True)
class Calibration:
    """A fitted combination and thresholds, with the settings that they hold for.

    ``source``: names the calibration in errors. ``binding``: the values of BOUND that it was made
    with. ``weights``: per column of the scores one number, or one per element of a list; with
    ``intercept`` they give the logit of the probability of being memorized. Without weights:
    thresholds only. ``references``: number of reference captions that it was fitted on, which can
    no longer serve as its null.
    """

    source: str
    binding: dict[str, Any]
    weights: dict[str, tuple[float, ...]]
    intercept: float
    thresholds: tuple[SignalThreshold, ...]
    references: int = 0

    def check(self, fingerprint: dict[str, Any], url: str) -> None:
        """Raise UserError, naming what differs, unless the run has the same settings."""
        run = binding_of(fingerprint)
        changed = [
            f"{name} ({_shown(self.binding.get(name))} in the calibration, {_shown(run[name])} "
            "in the run)"
            for name in BOUND
            if self.binding.get(name) != run[name]
        ]
        if changed:
            raise UserError(
                f"{self.source}: the calibration does not match the run {url}; these differ: "
                f"{', '.join(changed)}. Scan with its settings, or create a calibration for this "
                "run with memscan calibrate"
            )

    def logit(self, schema: pa.Schema) -> str:
        """Return the combination as SQL over the view scores with this schema. Raises UserError."""
        numbers = [self.intercept, *(value for values in self.weights.values() for value in values)]
        if not all(map(math.isfinite, numbers)):
            raise UserError(f"{self.source}: weights must be finite numbers; recreate the file")
        terms = [f"{self.intercept:.17e}"]
        for name, values in self.weights.items():
            if name not in schema.names:
                raise UserError(f"{self.source}: the run has no column {name}")
            weights = [f"{value:.17e}::DOUBLE" for value in values]
            column = f"scores.{identifier(name)}"
            if pa.types.is_list(schema.field(name).type):
                elements = ", ".join(weights)
                terms.append(f"list_inner_product({column}::DOUBLE[], [{elements}])")
            else:
                terms.append(f"{column} * {weights[0]}")
        return " + ".join(terms)

    def thresholds_table(self) -> pa.Table:
        """Return the thresholds as a table, for the view thresholds."""
        rows = [vars(threshold) for threshold in self.thresholds]
        return pa.Table.from_pylist(rows, schema=THRESHOLDS)


def binding_of(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Return the fingerprint entries that a calibration depends on, with signals sorted."""
    bound = {name: fingerprint.get(name) for name in BOUND}
    return bound | {"signals": sorted(bound["signals"] or ())}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return str(value)
