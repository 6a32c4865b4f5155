"""The two-groups model: how probable it is that a p-value is not from the null."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CONFIDENCE = 1.645  # one-sided 95 %
SMALLEST = 1e-12


def alternative_probability(p_N: Floats) -> Floats:
    """Return 1 − fdr(p) of each p-value, its probability of not being from the null: (N,).

    A share π₀ of the p-values is uniform and the rest tends to be small, so that their density g
    falls: fdr(p) = π₀ / g(p) (Efron 2008, "Microarrays, empirical Bayes and the two-groups
    model"). π₀ = 1, which errs toward the null. g(p) is the number of p-values from p/2 to p over
    what is expected of uniform ones, as a lower confidence bound, since a few small p-values among
    many are no evidence; and no smaller than at any larger p.
    """
    order = np.argsort(p_N)
    p = np.maximum(p_N[order], SMALLEST)
    count = np.searchsorted(p, p, side="right") - np.searchsorted(p, p / 2)
    density = count_bound(count) / (len(p) * p / 2)
    falling = np.maximum.accumulate(density[::-1])[::-1]
    found = np.empty(len(p))
    found[order] = 1 - 1 / np.maximum(falling, 1.0)
    return found


def count_bound(count_N: NDArray[np.int64]) -> Floats:
    """Return the lower 95 % confidence bound on the mean of a Poisson count above 0: (N,).

    The approximation of Wilson and Hilferty to the exact bound.
    """
    bound: Floats = count_N * (1 - 1 / (9 * count_N) - CONFIDENCE / (3 * np.sqrt(count_N))) ** 3
    return bound
