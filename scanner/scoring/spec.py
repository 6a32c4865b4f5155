"""What to compute per caption: the typed interface of command line, actors and run.json."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

ProfileName = Literal["triage", "late-half", "late", "standard", "thorough", "trajectory", "all"]

Placement = Literal["auto", "device", "offload"]
"""Where text encoders or the denoiser are kept; changes no score."""


@dataclass(frozen=True)
class ScoringSpec:
    """The signals of a scorer, and the denoising on which they are measured.

    ``profile``: a key of PROFILES. ``signals``: names of signals (see find_signal) that replace the
    profile's. ``seeds``: number of initial noises to average, the profile's default if None.
    ``steps``: of the schedule. ``guidance``: scale of a trajectory. ``height``, ``width``: in
    pixels, the model's (times the profile's side) if None.
    """

    profile: str = "standard"
    signals: tuple[str, ...] | None = None
    seeds: int | None = None
    steps: int = 50
    guidance: float = 7.5
    height: int | None = None
    width: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "signals": self.signals and list(self.signals)}


@dataclass(frozen=True)
class DenoisingOptions:
    """Command-line options of the denoising; a field's docstring is its help text."""

    steps: int = ScoringSpec.steps
    """Steps of the schedule (DDIM; Euler for flow matching). Most signals use its first step, those
    at low noise (such as cosine_low_noise and noise_norm_low) the third from last, anisotropy both,
    score_change the first two, and the trajectory signals (entropy_d, noise_norm_mean,
    bright_ending) run all steps."""
    guidance: float = ScoringSpec.guidance
    """Guidance scale of a trajectory."""
    height: int | None = None
    """Height of the generated image in pixels; the model's own by default."""
    width: int | None = None
    """Width of the generated image in pixels; the model's own by default."""

    @property
    def scoring_spec(self) -> ScoringSpec:
        return ScoringSpec(
            steps=self.steps, guidance=self.guidance, height=self.height, width=self.width
        )
