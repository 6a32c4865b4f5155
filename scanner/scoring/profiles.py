"""Profiles: named sets of signals."""

from dataclasses import dataclass

from scanner.scoring.attention_signals import attention_needs
from scanner.scoring.catalog import SIGNALS
from scanner.signals.noise_level import FIRST

_TRIAGE = tuple(one.name for one in SIGNALS.values() if one.needs == attention_needs(FIRST))
_STANDARD = (*_TRIAGE, "noise_norm_low")
_THOROUGH = (*_STANDARD, "noise_norm_first", "cosine_low_noise", "anisotropy")
_LATE = (*(f"{name}@low" for name in _TRIAGE), "noise_norm_low")


@dataclass(frozen=True)
class Profile:
    """A set of signals, its default number of seeds, and the side of its latents as a share of the
    model's own."""

    signals: tuple[str, ...]
    seeds: int = 1
    side: float = 1


PROFILES = {
    "triage": Profile(_TRIAGE),
    "late-half": Profile(_LATE, side=0.5),
    "late": Profile(_LATE),
    "standard": Profile(_STANDARD),
    "thorough": Profile(_THOROUGH, seeds=4),
    "trajectory": Profile((*_THOROUGH, "entropy_d", "noise_norm_mean", "bright_ending")),
}
