"""P-values and q-values of captions' rank scores, relative to the run's reference captions."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scanner.calibration.discovery import count_run_levels
from scanner.calibration.nulls import Conformal
from scanner.query import RunTables


@dataclass(frozen=True)
class Significance:
    """Per level of the null (L,), smallest p-value first.

    ``thresholds``: lowest rank_score of each level; ``p``: its p-value; ``q``: the lowest target
    FDR at which the Benjamini–Hochberg procedure selects it. ``captions`` were compared with
    ``references`` reference captions; ``top_level``: the first level that a caption attains.
    """

    thresholds: np.ndarray
    p: np.ndarray
    q: np.ndarray
    captions: int
    references: int
    top_level: int

    def table(self) -> pa.Table:
        """Return p_value and q_value by ``threshold``, for an ASOF join on rank_score."""
        return pa.table({"threshold": self.thresholds, "p_value": self.p, "q_value": self.q})

    def lowest(self) -> dict[str, float]:
        """Return the smallest p_value and q_value that a caption attains."""
        return {"p_value": float(self.p[self.top_level]), "q_value": float(self.q[self.top_level])}

    def expected_false(self, least: float) -> float:
        """Return an upper bound on the expected number of captions that are not memorized and have
        a rank_score of at least ``least``: captions · p."""
        level = int(np.argmax(self.thresholds <= least))
        return float(self.captions * self.p[level])


def compute_significance(tables: RunTables) -> Significance | None:
    """Compare the run's captions with its reference captions; None if it has none."""
    reference = tables.reference_rank_scores().to_numpy()
    if not len(reference):
        return None
    null = Conformal(reference)
    counts = count_run_levels(tables, null)
    selected, total = np.cumsum(counts), int(counts.sum())
    with np.errstate(divide="ignore"):
        rates = np.where(selected > 0, total * null.p / np.maximum(selected, 1), np.inf)
    q = np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1.0)
    top_level = int(np.argmax(counts > 0))
    return Significance(null.thresholds, null.p, q, total, len(reference), top_level)
