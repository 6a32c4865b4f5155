"""What to compute for a caption: the typed seam between command line, actors and run.json."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

ProfileName = Literal["triage", "standard", "thorough", "trajectory"]


@dataclass(frozen=True)
class ScoringSpec:
    """The signals of a scorer, and the denoising that they are measured on.

    ``profile``: a key of PROFILES; ``signals``: names of SIGNALS instead. ``seeds``: how many
    initial noises are averaged, the profile's own number if None. ``steps``, ``guidance``: of the
    DDIM schedule and of a trajectory. ``height``, ``width``: in pixels, the model's own if None.
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
    """The denoising's options on a command line; a field's docstring is its help text."""

    steps: int = ScoringSpec.steps
    """Steps of the DDIM schedule. Most signals are measured at its first step, cosine_low_noise at
    the third from last, those of a trajectory at all of them."""
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
