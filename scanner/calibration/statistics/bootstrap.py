"""Draw whole clusters of captions with replacement: near-duplicates are not independent."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
LEVEL = 0.95
SEED = 0
BLOCK = 1 << 23

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def replicate_weights(clusters: NDArray, among: Bools | None = None) -> Iterator[Floats]:
    """Yield blocks (B, M) of how often each caption is drawn; the first row is the data itself.

    ``among``: the M of N captions (N,) to return; the draws are the same for any choice.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    count = int(cluster.max()) + 1
    members = cluster if among is None else cluster[among]
    yield np.ones((1, len(members)))
    random = np.random.default_rng(SEED)
    block = max(1, BLOCK // len(cluster))
    for done in range(0, REPLICATES, block):
        size = min(block, REPLICATES - done)
        draws = random.multinomial(count, np.full(count, 1 / count), size=size)
        yield draws[:, members].astype(float)


def interval(replicates: Floats) -> tuple[float, float]:
    """Return the percentile interval; the first replicate is the original data."""
    low, high = np.nanquantile(replicates[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
