"""Precision of the ranking at each depth, from captions that people drew at random and labeled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.calibration.statistics.wilson import wilson
from scanner.query import RunTables
from scanner.run.verdicts import COPIES

_LABELED = """
    SELECT place, label, sampling_probability
    FROM (SELECT caption_id, row_number() OVER (ORDER BY rank_score DESC, caption_id) AS place
          FROM ranking)
    JOIN reviewed USING (caption_id)
    WHERE label IN ('verbatim', 'template', 'none')"""


@dataclass(frozen=True)
class ReviewedPrecision:
    """``reviewed``: labeled captions among the first ``depth`` of the ranking, on whose label their
    reviewers agree; ``drawn``: those of them that were drawn at random; ``memorized``: of the
    reviewed ones. ``precision`` with its 95 % interval estimates the share of memorized captions
    among all at that depth; None if none was drawn and not all were reviewed."""

    depth: int
    reviewed: int
    drawn: int
    memorized: int
    precision: float | None
    low: float | None
    high: float | None


def reviewed_precision(tables: RunTables) -> list[ReviewedPrecision]:
    """Estimate the precision of a run's ranking from its decisions; [] without labels."""
    return precision_at_depths([tuple(row.values()) for row in tables.query(_LABELED).to_pylist()])


def precision_at_depths(rows: Sequence[tuple[int, str, float | None]]) -> list[ReviewedPrecision]:
    """Estimate precision at depths 10, 20, 50, … up to the deepest label.

    ``rows``: place in the ranking, from 1; label; sampling probability. Drawn captions are weighted
    by 1 / probability (Hájek's ratio estimator); the interval is Wilson's, at Kish's effective
    number of captions.
    """
    if not rows:
        return []
    places = np.array([place for place, _, _ in rows])
    memorized = np.array([label in COPIES for _, label, _ in rows])
    probability = np.array([np.nan if p is None else p for _, _, p in rows], float)
    depths = (step * 10**power for power in range(1, 11) for step in (1, 2, 5))
    deepest = int(places.max())
    listed = sorted({min(depth, deepest) for depth in depths})
    return [_at(depth, places <= depth, memorized, probability) for depth in listed]


def _at(
    depth: int, inside: NDArray[np.bool_], memorized: NDArray[np.bool_], probability: NDArray
) -> ReviewedPrecision:
    reviewed, positive = int(inside.sum()), int((memorized & inside).sum())
    drawn = inside & ~np.isnan(probability)
    counts = (depth, reviewed, int(drawn.sum()), positive)
    if reviewed == depth:  # nothing is left to estimate
        share = positive / depth
        return ReviewedPrecision(*counts, share, share, share)
    if not drawn.any():
        return ReviewedPrecision(*counts, None, None, None)
    weights = 1 / probability[drawn]
    share = float(weights @ memorized[drawn] / weights.sum())
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return ReviewedPrecision(*counts, share, *wilson(share, effective))
