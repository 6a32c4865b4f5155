"""Scores of a caption among those of held-out captions."""

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
    """A score of the caption, and of every held-out caption; memorized: +1 if they have more."""

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
    def outside(self) -> bool:
        """Whether it lies outside of the held-out captions' 5th to 95th percentile."""
        if not self.others:
            return False
        low, high = np.quantile(self.others, (LOW, HIGH))
        return not low <= self.value <= high

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


def scores_of(row: dict[str, Any], others: pa.Table) -> list[Score]:
    """``row``: the caption's scores; ``others``: those of held-out captions."""
    return [
        Score(
            name=name,
            description=SIGNALS[name].field.metadata[b"description"].decode(),
            value=row[name],
            others=others[name].to_pylist(),
            memorized=SIGNALS[name].memorized,
        )
        for name in SCORES
    ]
