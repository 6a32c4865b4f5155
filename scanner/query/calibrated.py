"""A calibration as queries need it: numbers, for columns of the scores table.

It is made and written by the calibration room; here it becomes SQL.
"""

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scanner.errors import UserError
from scanner.query.quoting import identifier

COMBINATION = "combination"
# What a calibration depends on, by its name in a run's fingerprint: not on the precision or the
# release, so that a new one does not void it.
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
class Threshold:
    """From where on a signal flags a caption: at or above it if ``higher``, else at or below.

    ``signal`` is a column of the scores, or ``combination`` with the logit of the probability.
    """

    signal: str
    threshold: float
    higher: bool
    false_positive_rate: float


@dataclass(frozen=True)
class Calibration:
    """What was fitted, and where it holds.

    ``binding``: the values of BOUND that it was made with. ``weights``: per column of the scores
    one number, or one for each element of a list; with ``intercept`` they give the logit of the
    probability of being memorized. No weights: thresholds only. ``references``: how many reference
    captions it was fitted on, which are no null set for it any more. ``source`` names it in errors.
    """

    source: str
    binding: dict[str, Any]
    weights: dict[str, tuple[float, ...]]
    intercept: float
    thresholds: tuple[Threshold, ...]
    references: int = 0

    def check(self, fingerprint: dict[str, Any], url: str) -> None:
        """Raises UserError, naming what differs, unless the run was scored alike."""
        here = binding_of(fingerprint)
        changed = [
            f"{name} ({_shown(self.binding.get(name))} in the calibration, {_shown(here[name])} "
            "in the run)"
            for name in BOUND
            if self.binding.get(name) != here[name]
        ]
        if changed:
            raise UserError(
                f"{self.source}: this calibration does not fit the run {url}; different are: "
                f"{', '.join(changed)}. Scan with its settings, or make one for this run with "
                "memscan calibrate"
            )

    def logit(self, schema: pa.Schema) -> str:
        """The combination as SQL over the view scores, whose schema this is. Raises UserError."""
        numbers = [self.intercept, *(value for values in self.weights.values() for value in values)]
        if not all(map(math.isfinite, numbers)):
            raise UserError(f"{self.source}: its weights must be finite numbers; make it again")
        terms = [f"{self.intercept:.17e}"]
        for name, values in self.weights.items():
            if name not in schema.names:
                raise UserError(f"{self.source}: the run has no column {name}")
            weights = [f"{value:.17e}::DOUBLE" for value in values]
            column = f"scores.{identifier(name)}"
            if pa.types.is_list(schema.field(name).type):
                listed = ", ".join(weights)
                terms.append(f"list_inner_product({column}::DOUBLE[], [{listed}])")
            else:
                terms.append(f"{column} * {weights[0]}")
        return " + ".join(terms)

    def thresholds_table(self) -> pa.Table:
        """The view thresholds."""
        rows = [vars(threshold) for threshold in self.thresholds]
        return pa.Table.from_pylist(rows, schema=THRESHOLDS)


def binding_of(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """What a calibration binds to of a run; the order of the signals does not matter."""
    bound = {name: fingerprint.get(name) for name in BOUND}
    return bound | {"signals": sorted(bound["signals"] or ())}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return str(value)
