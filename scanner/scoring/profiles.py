"""Profiles: named sets of signals."""

from dataclasses import dataclass

from scanner.scoring.catalog import ATTENTION, SIGNALS

_TRIAGE = tuple(signal.name for signal in SIGNALS.values() if signal.needs == ATTENTION)
_STANDARD = (*_TRIAGE, "noise_norm_first")
_THOROUGH = (*_STANDARD, "cosine_low_noise", "anisotropy")


@dataclass(frozen=True)
class Profile:
    """A set of signals, and its default number of seeds."""

    signals: tuple[str, ...]
    seeds: int


PROFILES = {
    "triage": Profile(_TRIAGE, seeds=1),
    "standard": Profile(_STANDARD, seeds=1),
    "thorough": Profile(_THOROUGH, seeds=4),
    "trajectory": Profile((*_THOROUGH, "entropy_d", "noise_norm_mean", "bright_ending"), seeds=1),
}
