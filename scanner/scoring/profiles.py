"""Profiles: named sets of signals."""

from dataclasses import dataclass

from scanner.models.traits import Trait
from scanner.scoring.catalog import SIGNALS, find_signal
from scanner.signals.noise_level import FIRST

_TRIAGE = tuple(one.name for one in SIGNALS.values() if one.level == FIRST and one.needs.attention)
_STANDARD = (*_TRIAGE, "noise_norm_low", "velocity_norm_mid")
_THOROUGH = (*_STANDARD, "noise_norm_first", "cosine_low_noise", "anisotropy")
# Of these, a U-Net gives those at the low-noise step, and a transformer those at σ = 0.5.
_LATE = (
    *(f"{name}{at}" for name in _TRIAGE for at in ("@low", "@mid")),
    *("noise_norm_low", "velocity_norm_mid"),
)


@dataclass(frozen=True)
class Profile:
    """A set of signals, its default number of seeds, and the side of its latents as a share of the
    model's own. Signals that a model, its resolution or the number of seeds cannot give are left
    out."""

    signals: tuple[str, ...]
    seeds: int = 1
    side: float = 1

    def signals_of(self, traits: frozenset[Trait]) -> tuple[str, ...]:
        """Return the signals of a model and options with these traits."""
        return tuple(name for name in self.signals if find_signal(name).needs.traits <= traits)


PROFILES = {
    "triage": Profile(_TRIAGE),
    "late-half": Profile(_LATE, side=0.5),
    "late": Profile(_LATE),
    "standard": Profile(_STANDARD),
    "thorough": Profile(_THOROUGH, seeds=4),
    "trajectory": Profile((*_THOROUGH, "entropy_d", "noise_norm_mean", "bright_ending")),
    "all": Profile(tuple(SIGNALS), seeds=2),  # seed_agreement compares seeds
}
