"""How many clusters of near-duplicates labels need."""

import numpy as np
from numpy.typing import NDArray

from scanner.calibration.statistics.bootstrap import Bools
from scanner.errors import UserError

MIN_CLUSTERS = 10


def check_clusters(memorized: Bools, clusters: NDArray) -> None:
    """Raise UserError unless both classes have enough clusters of near-duplicates."""
    for kind, name in ((True, "memorized"), (False, "not memorized")):
        count = len(np.unique(clusters[memorized == kind]))
        if count < MIN_CLUSTERS:
            raise UserError(
                f"the labels cover {count} clusters of near-duplicate captions that are {name}; "
                f"at least {MIN_CLUSTERS} of each kind are needed: label more captions"
            )
