"""Count the FLOPs of each profile at several image sizes, on the meta device."""

from scanner.models import DiffusionModel
from scanner.scoring import Scorer
from scanner.scoring.cost import ForwardCosts, cost
from scanner.scoring.profiles import PROFILES

SHARES = (1.0, 0.75, 0.5)
"""Sides to count, as shares of the model's own."""
TIMED = tuple(name for name in PROFILES if name != "all")
"""Profiles to time. ``all`` is for comparing signals, and takes more than twice the time of
``trajectory``."""


def gflop_by_size(model: DiffusionModel) -> dict[str, dict[str, float]]:
    """Return GFLOP per caption by profile and side in pixels, as ``--height`` and ``--width`` set
    it. A profile with its own side is counted at that side only."""
    own = model.latent_shape()[1] * model.pixels_per_latent
    gflop: dict[str, dict[str, float]] = {profile: {} for profile in PROFILES}
    for share in SHARES:
        side = round(own * share)
        forwards = None
        for name, profile in PROFILES.items():
            if profile.side not in (1, share):
                continue
            scorer = Scorer(model, name, height=side, width=side)
            forwards = forwards or ForwardCosts(model, scorer.latent_shape)
            gflop[name][str(side)] = cost(scorer, forwards).per_caption
    return gflop
