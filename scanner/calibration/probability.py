"""Turn log odds on labeled captions into probabilities under a prior, and measure reliability."""

from dataclasses import dataclass

import numpy as np

from scanner.calibration.statistics.bootstrap import Bools, Floats

EDGES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Bin:
    """Labeled captions with a probability in [``low``, ``high``), the last bin closed.

    ``predicted``: mean probability; ``observed``: share that is memorized; both weighted to the
    prior. ``captions``: number of labeled captions.
    """

    low: float
    high: float
    captions: int
    predicted: float
    observed: float


def prior_shift(memorized: Bools, prevalence: float, weights: Floats | None = None) -> float:
    """Return the shift of log odds from the labels' prevalence to ``prevalence``.

    ``weights``: how many captions each labeled caption represents, by default one.
    """
    share = float(np.average(memorized, weights=weights))
    return float(np.log(prevalence / (1 - prevalence)) - np.log(share / (1 - share)))


def reliability(
    probability: Floats, memorized: Bools, prevalence: float, weights: Floats | None = None
) -> list[Bin]:
    """Return the reliability curve, with labeled captions weighted to the prior.

    Empty bins are omitted.
    """
    share = float(np.average(memorized, weights=weights))
    weight = np.where(memorized, prevalence / share, (1 - prevalence) / (1 - share))
    weight = weight if weights is None else weight * weights
    index = np.clip(np.searchsorted(EDGES, probability, side="right") - 1, 0, len(EDGES) - 2)
    bins = []
    for k in np.unique(index):
        members = index == k
        predicted, observed = (
            float(np.average(values[members], weights=weight[members]))
            for values in (probability, memorized)
        )
        bins.append(Bin(EDGES[k], EDGES[k + 1], int(members.sum()), predicted, observed))
    return bins
