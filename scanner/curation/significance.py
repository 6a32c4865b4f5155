"""How surprising each caption's decision is among the run's reference captions."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scanner.calibration.discovery import count_run_levels
from scanner.calibration.nulls import Conformal
from scanner.query import RunTables


@dataclass(frozen=True)
class Significance:
    """By level of the null, the most surprising first: the lowest decision of it, its p-value, and
    the lowest false discovery rate at which Benjamini and Hochberg's list takes it in.

    ``captions``: how many were compared, with ``references`` reference captions; ``reached``: the
    level of the most surprising one.
    """

    starts: np.ndarray
    p: np.ndarray
    q: np.ndarray
    captions: int
    references: int
    reached: int

    def table(self) -> pa.Table:
        """For an ASOF join: p_value and q_value from each decision, ``start``, on."""
        return pa.table({"start": self.starts, "p_value": self.p, "q_value": self.q})

    def lowest(self) -> dict[str, float]:
        """The p_value and the q_value of the most surprising caption: no other has lower ones."""
        return {"p_value": float(self.p[self.reached]), "q_value": float(self.q[self.reached])}

    def expected_false(self, least: float) -> float:
        """How many captions that are not memorized score at least ``least``, at most, on average:
        captions · p."""
        level = int(np.argmax(self.starts <= least))
        return float(self.captions * self.p[level])


def significance(tables: RunTables) -> Significance | None:
    """Of the run's decisions, or None where it has no reference captions to compare with."""
    reference = tables.reference_decisions().to_numpy()
    if not len(reference):
        return None
    null = Conformal(reference)
    counts = count_run_levels(tables, null)
    listed, total = np.cumsum(counts), int(counts.sum())
    with np.errstate(divide="ignore"):
        rates = np.where(listed > 0, total * null.p / np.maximum(listed, 1), np.inf)
    q = np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1.0)
    reached = int(np.argmax(counts > 0))
    return Significance(null.thresholds, null.p, q, total, len(reference), reached)
