"""A stratified random sample of the ranking, with the probability with which each was drawn.

Strata are ranges of the ranking that grow tenfold, so the top, where memorized captions are, is
dense in the sample, and the rest is still covered. Captions weighted by 1 / probability represent
the whole ranking (Horvitz and Thompson 1952).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.review.index import Positions

FIRST_STRATUM = 100
# An odd constant (2^64 / golden ratio) turns hashes that order other things into another order.
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Sample:
    """Positions in random order, and the probability with which each was drawn."""

    positions: Positions
    probabilities: NDArray[np.float64]

    def probability(self, position: int) -> float | None:
        """Return the probability of a position in the sample; None for any other."""
        found = np.flatnonzero(self.positions == position)
        return float(self.probabilities[found[0]]) if len(found) else None


def stratified_sample(hashes: NDArray[np.uint64], size: int) -> Sample:
    """Draw at least ``size`` captions, if there are as many: equally many from each stratum.

    ``hashes``: by position; they decide the draw, so each server and reviewer gets the same sample,
    and a larger one contains the smaller.
    """
    strata = _strata(len(hashes))
    order = hashes * _MIX
    drawn: list[Positions] = []
    probabilities: list[NDArray[np.float64]] = []
    for number, (start, end) in enumerate(strata):
        missing = size - sum(map(len, drawn))
        share = max(0, -(-missing // (len(strata) - number)))
        count = min(end - start, share)
        if count:
            inside = np.argpartition(order[start:end], count - 1)[:count]
            drawn.append((start + inside).astype(np.int32))
            probabilities.append(np.full(count, count / (end - start)))
    positions = np.concatenate([np.empty(0, np.int32), *drawn])
    by_hash = np.argsort(order[positions], kind="stable")
    return Sample(positions[by_hash], np.concatenate([np.empty(0), *probabilities])[by_hash])


def _strata(count: int) -> list[tuple[int, int]]:
    ends = [0, FIRST_STRATUM]
    while ends[-1] < count:
        ends.append(10 * ends[-1])
    ends = [min(end, count) for end in ends]
    return [(start, end) for start, end in itertools.pairwise(ends) if end > start]
