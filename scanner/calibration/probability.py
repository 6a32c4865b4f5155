"""From log odds among labelled captions to a probability under a prior, and how true it is."""

from dataclasses import dataclass

import numpy as np

from scanner.calibration.separation import Bools, Floats

EDGES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Bin:
    """Captions whose probability is from ``low`` up to, not with, ``high`` (the last: with).

    ``predicted`` is their mean probability, ``observed`` the share that is memorized, both as if
    the prior held; ``captions`` how many labelled ones there are.
    """

    low: float
    high: float
    captions: int
    predicted: float
    observed: float


def prior_shift(memorized: Bools, prevalence: float) -> float:
    """What the prior adds to log odds: those of ``prevalence`` less those of the labels."""
    share = float(memorized.mean())
    return float(np.log(prevalence / (1 - prevalence)) - np.log(share / (1 - share)))


def reliability(probability: Floats, memorized: Bools, prevalence: float) -> list[Bin]:
    """The reliability curve under a prior: labelled captions count by what the prior makes them.

    Bins without captions are left out.
    """
    share = float(memorized.mean())
    weight = np.where(memorized, prevalence / share, (1 - prevalence) / (1 - share))
    place = np.clip(np.searchsorted(EDGES, probability, side="right") - 1, 0, len(EDGES) - 2)
    bins = []
    for k in np.unique(place):
        here = place == k
        predicted, observed = (
            float(np.average(values[here], weights=weight[here]))
            for values in (probability, memorized)
        )
        bins.append(Bin(EDGES[k], EDGES[k + 1], int(here.sum()), predicted, observed))
    return bins
