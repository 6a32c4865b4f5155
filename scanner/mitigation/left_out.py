"""What a guard left out of training: a removal list."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor


@dataclass
class _Sample:
    """A sample's count: steps, steps in which its weight was below a half, sums over them all."""

    caption: str
    seen: int = 0
    left_out: int = 0
    weight: float = 0.0
    statistic: float = 0.0


class LeftOut:
    """Counts by key how often a sample was left out (its weight was below a half)."""

    def __init__(self) -> None:
        self._samples: dict[str, _Sample] = {}

    def add(
        self,
        keys: Sequence[str],
        captions: Sequence[str],
        weight_B: Tensor,
        statistic_B: Tensor,
        counted_B: Tensor,
    ) -> None:
        """One step's samples; those not ``counted_B`` are passed over."""
        values = (weight_B.tolist(), statistic_B.tolist(), counted_B.tolist())
        for key, caption, weight, statistic, counted in zip(keys, captions, *values, strict=True):
            if counted:
                one = self._samples.setdefault(key, _Sample(caption))
                one.seen += 1
                one.left_out += weight < 0.5
                one.weight += weight
                one.statistic += statistic

    @property
    def share(self) -> float:
        """The share of the samples' steps that was left out."""
        seen = sum(one.seen for one in self._samples.values())
        return sum(one.left_out for one in self._samples.values()) / max(seen, 1)

    def table(self, signal: str) -> pa.Table:
        """key, caption, left_out, seen, mean_weight, and the signal's mean; most often first."""
        found = [(key, one) for key, one in self._samples.items() if one.left_out]
        found.sort(key=lambda pair: (-pair[1].left_out / pair[1].seen, -pair[1].left_out, pair[0]))
        columns = {
            "key": pa.array([key for key, _ in found], pa.string()),
            "caption": pa.array([one.caption for _, one in found], pa.string()),
            "left_out": pa.array([one.left_out for _, one in found], pa.int64()),
            "seen": pa.array([one.seen for _, one in found], pa.int64()),
            "mean_weight": pa.array([one.weight / one.seen for _, one in found], pa.float64()),
            f"mean_{signal}": pa.array([o.statistic / o.seen for _, o in found], pa.float64()),
        }
        return pa.table(columns)

    def write(self, path: str | Path, signal: str) -> int:
        """Write the table as Parquet; returns its number of rows."""
        table = self.table(signal)
        pq.write_table(table, path, compression="zstd")
        return len(table)
