"""Log the samples that a guard excludes from training, as a removal list."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from scanner.errors import UserError


@dataclass
class _Sample:
    """Counts for a sample: steps, steps with a weight below 0.5, and sums over all steps.

    ``probability``: None if none is estimated.
    """

    caption: str
    seen: int = 0
    excluded: int = 0
    weight: float = 0.0
    statistic: float = 0.0
    probability: float | None = None


class ExclusionLog:
    """Counts per key how often a sample was excluded (weight below 0.5)."""

    def __init__(self) -> None:
        self._samples: dict[str, _Sample] = {}

    def add(
        self,
        keys: Sequence[str],
        captions: Sequence[str],
        weight_B: Tensor,
        statistic_B: Tensor,
        counted_B: Tensor,
        probability_B: Tensor | None = None,
    ) -> None:
        """Record one step; samples outside ``counted_B`` are ignored. ``probability_B``: that each
        is memorized, if estimated."""
        unknown = [None] * len(keys)
        probabilities = unknown if probability_B is None else probability_B.tolist()
        values = (weight_B.tolist(), statistic_B.tolist(), counted_B.tolist(), probabilities)
        for key, caption, weight, statistic, counted, probability in zip(
            keys, captions, *values, strict=True
        ):
            if counted:
                sample = self._samples.setdefault(key, _Sample(caption))
                sample.seen += 1
                sample.excluded += weight < 0.5
                sample.weight += weight
                sample.statistic += statistic
                if probability is not None:
                    sample.probability = (sample.probability or 0.0) + probability

    @property
    def share(self) -> float:
        """Return the share of all recorded sample steps that were excluded."""
        seen = sum(sample.seen for sample in self._samples.values())
        return sum(sample.excluded for sample in self._samples.values()) / max(seen, 1)

    def table(self, signal: str) -> pa.Table:
        """Return the excluded samples, most often excluded first.

        Columns: key, caption, excluded_steps and seen (steps), mean_weight, mean_probability that
        it is memorized (null if not estimated), mean of the signal.
        """
        rows = [(key, sample) for key, sample in self._samples.items() if sample.excluded]
        rows.sort(key=lambda row: (-row[1].excluded / row[1].seen, -row[1].excluded, row[0]))
        samples = [sample for _, sample in rows]
        columns = {
            "key": pa.array([key for key, _ in rows], pa.string()),
            "caption": pa.array([one.caption for one in samples], pa.string()),
            "excluded_steps": pa.array([one.excluded for one in samples], pa.int64()),
            "seen": pa.array([one.seen for one in samples], pa.int64()),
            "mean_weight": pa.array([one.weight / one.seen for one in samples], pa.float64()),
            "mean_probability": pa.array(
                [one.probability and one.probability / one.seen for one in samples], pa.float64()
            ),
            f"mean_{signal}": pa.array([one.statistic / one.seen for one in samples], pa.float64()),
        }
        return pa.table(columns)

    def write(self, path: str | Path, signal: str) -> int:
        """Write the table as Parquet; return its number of rows. Raises UserError if it cannot be
        written."""
        table = self.table(signal)
        try:
            pq.write_table(table, path, compression="zstd")
        except OSError as error:
            raise UserError(
                f"guard: {path}: cannot be written ({error}); give a file in an existing directory"
            ) from error
        return len(table)
