"""Scores of a caption among those of held-out captions, and which way they point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scanner.evidence.explain.curves import HIGH, LOW
from scanner.scoring.catalog import SIGNALS

SCORES = ("noise_norm_first", "bos_mass", "prompt_mass", "summary_mass", "entropy_e")
RESCORED = (*SCORES, "token_mass")


@dataclass(frozen=True)
class Score:
    """A score of the caption, and of every held-out caption.

    memorized: +1 if memorized captions have more, -1 if less, 0 if no direction is known.
    """

    name: str
    description: str
    value: float
    others: list[float]
    memorized: int

    @property
    def below(self) -> float | None:
        """The share of held-out captions that have less; None where there are none."""
        return float(np.mean(np.array(self.others) < self.value)) if self.others else None

    @property
    def side(self) -> int:
        """+1 above the held-out captions' 5th to 95th percentile, -1 below it, else 0."""
        if not self.others:
            return 0
        low, high = np.quantile(self.others, (LOW, HIGH))
        return int(self.value > high) - int(self.value < low)

    @property
    def points(self) -> int:
        """+1 to memorization, -1 away from it; 0 inside the band or without a direction."""
        return self.side * self.memorized

    @property
    def evidence(self) -> str:
        """Which way it points, in words; empty without held-out captions."""
        if not self.others:
            return ""
        if self.points:
            return "points to memorization" if self.points > 0 else "points away from memorization"
        return "outside the band, direction unknown" if self.side else "inside the band"

    @property
    def place(self) -> str:
        """Where it lies among those of the held-out captions, in words."""
        if self.below is None:
            return ""
        count, below = len(self.others), round(self.below * len(self.others))
        if below == count:
            return f"above all {count} held-out captions"
        if below == 0:
            return f"below all {count} held-out captions"
        return f"above {below} of {count} held-out captions"


def count_evidence(scores: Sequence[Score]) -> str:
    """How many signals point to memorization and how many away, as a sentence."""
    toward = sum(score.points > 0 for score in scores)
    away = sum(score.points < 0 for score in scores)
    unknown = sum(score.side != 0 and not score.points for score in scores)
    said = (
        f"{toward} of {len(scores)} signals {'points' if toward == 1 else 'point'} to "
        f"memorization, {away} {'points' if away == 1 else 'point'} away"
    )
    return f"{said}, {unknown} outside the band without a known direction" if unknown else said


def scores_of(
    row: dict[str, Any], others: pa.Table, directions: Mapping[str, int] | None = None
) -> list[Score]:
    """``row``: the caption's scores; ``others``: those of held-out captions; ``directions``: of
    signals, where others than the catalogue's hold (see :class:`Score`)."""
    known = directions or {}
    return [
        Score(
            name=name,
            description=SIGNALS[name].field.metadata[b"description"].decode(),
            value=row[name],
            others=others[name].to_pylist(),
            memorized=known.get(name, SIGNALS[name].memorized),
        )
        for name in SCORES
    ]
