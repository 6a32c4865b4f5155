"""Count captions by probability, or by ranking signal, for bars to pick ranges by."""

from dataclasses import dataclass

import numpy as np

from scanner.review.index import Positions, ReviewIndex

BARS = 40


@dataclass(frozen=True)
class Bar:
    """Number of captions from ``low`` to ``high``; ``height``: of the bar, in [0, 1]."""

    low: float
    high: float
    captions: int
    height: float


def histogram(index: ReviewIndex, positions: Positions | None) -> list[Bar]:
    """Return the bars of these captions, by default of all; [] for none.

    Heights are logarithmic, since nearly all captions have a low probability.
    """
    values = index.measure if positions is None else index.measure[positions]
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    ends = (0.0, 1.0) if index.calibrated else (float(values.min()), float(values.max()))
    counts, edges = np.histogram(values, BARS, ends)
    heights = np.log1p(counts) / np.log1p(counts.max())
    columns = (edges[:-1], edges[1:], counts, heights)
    return [
        Bar(float(low), float(high), int(count), float(height))
        for low, high, count, height in zip(*columns, strict=True)
    ]
