"""The interval of a share that was estimated from independent draws."""

import math

# 95 % of the normal distribution.
Z = 1.959964


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``n`` draws (Wilson 1927)."""
    spread = Z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return max(0.0, middle - reach), min(1.0, middle + reach)
