"""The sweep: AUC of the norm on pure noise by timestep and latent side, and what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from scanner.calibration import Separation
from scanner.calibration.evaluation.separation import AucGain
from scanner.replication.config import ReplicateConfig
from scanner.replication.measuring import Measurement
from scanner.replication.planned_scans import norm_column


@dataclass(frozen=True)
class SweepPoint:
    """The norm at one timestep and side."""

    timestep: int
    side: float
    separation: Separation
    gflop: float


@dataclass(frozen=True)
class SweepFinding:
    """Whether the norm at the low-noise timestep separates better, at a side, than at the noisiest
    timestep and the model's own side. ``gain``: of AUC, with its interval over clusters."""

    side: float
    low: int
    first: int
    gain: AucGain

    @property
    def verdict(self) -> str:
        """Return confirmed, refuted or undecided: the interval is above, below or around 0."""
        if self.gain.low > 0:
            return "confirmed"
        return "refuted" if self.gain.high < 0 else "undecided"


def sweep_points(config: ReplicateConfig, measurements: Sequence[Measurement]) -> list[SweepPoint]:
    """Return the points by side, largest first, and timestep, noisiest first."""
    return [
        SweepPoint(timestep, one.scan.side, separation, one.gflop / len(config.swept))
        for one in _sweeps(measurements)
        for timestep in sorted(config.swept, reverse=True)
        if (separation := one.signals.get(norm_column(config, timestep)))
    ]


def sweep_findings(
    config: ReplicateConfig, measurements: Sequence[Measurement]
) -> list[SweepFinding]:
    """Compare the low-noise timestep at each side with the noisiest one at the model's own side."""
    sweeps = _sweeps(measurements)
    whole = next((one for one in sweeps if one.scan.at_own_side), None)
    if whole is None or len(config.swept) < 2:
        return []
    first = max(config.swept)
    low = min(config.swept, key=lambda timestep: abs(timestep - config.kit.low))
    if low == first:
        return []
    findings = []
    for one in sweeps:
        gain = one.gain(norm_column(config, low), whole, norm_column(config, first))
        if gain:
            findings.append(SweepFinding(one.scan.side, low, first, gain))
    return findings


def _sweeps(measurements: Sequence[Measurement]) -> list[Measurement]:
    found = [one for one in measurements if one.scan.kind == "sweep"]
    return sorted(found, key=lambda one: -one.scan.side)
