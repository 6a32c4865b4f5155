"""Count the FLOPs of each profile at several image sizes, on the meta device."""

from scanner.models import DiffusionModel
from scanner.scoring import Scorer
from scanner.scoring.cost import cost
from scanner.scoring.profiles import PROFILES

SHARES = (1.0, 0.75, 0.5)
"""Sides to count, as shares of the model's own."""


def gflop_by_size(model: DiffusionModel) -> dict[str, dict[str, float]]:
    """Return GFLOP per caption by profile and side in pixels, as ``--height`` and ``--width`` set
    it. A profile with a side of its own is counted at that side only."""
    return {profile: _by_size(model, profile) for profile in PROFILES}


def _by_size(model: DiffusionModel, profile: str) -> dict[str, float]:
    own = model.latent_shape()[1] * model.pixels_per_latent
    share = PROFILES[profile].side
    sides = [round(own * one) for one in (SHARES if share == 1 else (share,))]
    return {
        str(side): cost(Scorer(model, profile, height=side, width=side)).per_caption
        for side in sides
    }
