"""Compare a caption's scores with held-out captions, as evidence for or against memorization."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scanner.evidence.explain.curves import HIGH, LOW
from scanner.models.traits import UNET, Trait
from scanner.scoring.catalog import SIGNALS

_ALL = (
    *("noise_norm_low", "velocity_norm_mid", "noise_norm_first"),
    *("text_share", "bos_mass", "prompt_mass", "summary_mass", "entropy_e"),
)


def score_names(traits: Collection[Trait]) -> tuple[str, ...]:
    """Return the scores that a model with these traits has."""
    return tuple(name for name in _ALL if SIGNALS[name].needs.traits <= set(traits))


SCORES = score_names(UNET)
"""The scores of models with cross-attention that are trained as DDPM."""


@dataclass(frozen=True)
class Score:
    """A score of the caption and of every held-out caption (``others``).

    ``memorized``: +1 if higher means memorized, −1 if lower, 0 if the direction is unknown.
    """

    name: str
    description: str
    value: float
    others: list[float]
    memorized: int

    @property
    def below(self) -> float | None:
        """Return the share of held-out captions with a lower score; None without any."""
        return float(np.mean(np.array(self.others) < self.value)) if self.others else None

    @property
    def side(self) -> int:
        """Return +1 above the held-out captions' 5th to 95th percentile, −1 below, else 0."""
        if not self.others:
            return 0
        low, high = np.quantile(self.others, (LOW, HIGH))
        return int(self.value > high) - int(self.value < low)

    @property
    def points(self) -> int:
        """Return +1 for evidence of memorization, −1 against; 0 within the band or if the direction
        is unknown."""
        return self.side * self.memorized

    @property
    def evidence(self) -> str:
        """Describe the evidence; empty without held-out captions."""
        if not self.others:
            return ""
        if self.points:
            return "suggests memorization" if self.points > 0 else "suggests no memorization"
        return "outside the band, direction unknown" if self.side else "within the band"

    @property
    def position(self) -> str:
        """Describe its position among the held-out captions."""
        if self.below is None:
            return ""
        count, below = len(self.others), round(self.below * len(self.others))
        if below == count:
            return f"above all {count} held-out captions"
        if below == 0:
            return f"below all {count} held-out captions"
        return f"above {below} of {count} held-out captions"


def count_evidence(scores: Sequence[Score]) -> str:
    """Describe how many signals suggest memorization and how many suggest the opposite."""
    toward = sum(score.points > 0 for score in scores)
    away = sum(score.points < 0 for score in scores)
    unknown = sum(score.side != 0 and not score.points for score in scores)
    text = (
        f"{toward} of {len(scores)} signals {'suggests' if toward == 1 else 'suggest'} "
        f"memorization, {away} {'suggests' if away == 1 else 'suggest'} the opposite"
    )
    return f"{text}, {unknown} outside the band with unknown direction" if unknown else text


def make_scores(
    row: dict[str, Any], others: pa.Table, directions: Mapping[str, int] | None = None
) -> list[Score]:
    """Build the scores. ``row``: of the caption; ``others``: of held-out captions; ``directions``:
    per signal, overriding the catalog's (see :class:`Score`)."""
    overrides = directions or {}
    return [
        Score(
            name=name,
            description=SIGNALS[name].field.metadata[b"description"].decode(),
            value=row[name],
            others=others[name].to_pylist(),
            memorized=overrides.get(name, SIGNALS[name].memorized),
        )
        for name in _ALL
        if name in row
    ]
