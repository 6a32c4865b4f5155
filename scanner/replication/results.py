"""The results of a replication, and their form as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from scanner.calibration import Separation
from scanner.calibration.calibrate import TEXT_COMBINATION
from scanner.query import COMBINATION
from scanner.replication.comparing import Comparison, best_measurement, compare, deviations
from scanner.replication.config import ReplicateConfig
from scanner.replication.measuring import Measurement
from scanner.replication.running import Scanned
from scanner.replication.sweeping import SweepFinding, SweepPoint, sweep_findings, sweep_points

PAGE = "replication.html"
RECORD = "results.json"


@dataclass(frozen=True)
class ReplicationResults:
    """Everything that the page and the JSON show.

    ``calibrations``: locations by profile; ``calibration``: that of the profile standard if there
    is one, else the first, None if none could be fitted.
    """

    config: ReplicateConfig
    scanned: Scanned
    measurements: list[Measurement]
    comparisons: list[Comparison]
    deviations: list[str]
    points: list[SweepPoint]
    findings: list[SweepFinding]
    calibrations: dict[str, str]

    @property
    def calibration(self) -> str | None:
        first = next(iter(self.calibrations.values()), None)
        return self.calibrations.get("standard", first)

    @property
    def page(self) -> str:
        return self.scanned.store.location(PAGE)

    @property
    def signals(self) -> dict[str, Measurement]:
        """The measurement that stands for each signal at the model's own side."""
        return best_measurement(self.measurements, self.comparisons)

    @property
    def profiles(self) -> list[Measurement]:
        return [one for one in self.measurements if one.scan.kind == "profile"]

    @property
    def text_only(self) -> dict[str, Separation]:
        """The text features alone, with their combination if it could be fitted."""
        fitted = [one for one in self.measurements if TEXT_COMBINATION in one.text_only]
        return (fitted or self.measurements)[0].text_only

    @property
    def clusters(self) -> int:
        return len(set(self.measurements[0].labeled.clusters.tolist()))

    @property
    def devices(self) -> list[str]:
        return sorted({device for one in self.measurements for device in one.devices})


def gather(
    config: ReplicateConfig,
    scanned: Scanned,
    measurements: list[Measurement],
    calibrations: dict[str, str],
) -> ReplicationResults:
    """Compare what was measured with what is published."""
    return ReplicationResults(
        config,
        scanned,
        measurements,
        compare(measurements),
        deviations(config),
        sweep_points(config, measurements),
        sweep_findings(config, measurements),
        calibrations,
    )


def results_record(results: ReplicationResults) -> dict[str, Any]:
    """Return the results as JSON."""
    published = {
        row.figure.signal: {"published_auc": row.figure.auc, "published_tpr": row.figure.tpr}
        for row in sorted(results.comparisons, key=lambda each: each.figure.seeds)
        if row.measured
    }
    nothing = {"published_auc": None, "published_tpr": None}
    truth = results.scanned.truth
    return {
        "model": results.config.model,
        "weights": results.scanned.files.weights_hash(),
        "revision": results.scanned.files.spec.revision,
        "prompts": len(truth.table),
        "memorized": truth.memorized,
        "clusters": results.clusters,
        "lists": truth.lists,
        "deviations": results.deviations,
        "signals": {
            name: _signal(one, name) | published.get(name, nothing)
            for name, one in results.signals.items()
        },
        "published": [_comparison(row) for row in results.comparisons],
        "text_only": {name: one.to_json() for name, one in results.text_only.items()},
        "timesteps": [
            {"timestep": point.timestep, "side": point.side, **point.separation.to_json()}
            for point in results.points
        ],
        "low_noise_step": [
            {
                "side": one.side,
                "timestep": one.low,
                "compared_with": one.first,
                "auc_gain": asdict(one.gain),
                "verdict": one.verdict,
            }
            for one in results.findings
        ],
        "profiles": [_profile(one) for one in results.profiles],
        "devices": results.devices,
        "calibrations": results.calibrations,
        "calibration": results.calibration,
        "page": results.page,
    }


def _signal(measured: Measurement, name: str) -> dict[str, Any]:
    classes = {kind: one.to_json() for kind, one in measured.by_class(name).items()}
    scan = {"scan": measured.scan.name, "seeds": measured.scan.seeds}
    return measured.signals[name].to_json() | classes | scan


def _comparison(row: Comparison) -> dict[str, Any]:
    figure = row.figure
    measured = _signal(row.measured, figure.signal) if row.measured else None
    return {**asdict(figure), "measured": measured, "deviation": row.deviation}


def _profile(measured: Measurement) -> dict[str, Any]:
    """Return the cost of a profile at a side, and what its combination of signals reaches."""
    combination = measured.combination
    classes = {kind: one.to_json() for kind, one in measured.by_class(COMBINATION).items()}
    return {
        "profile": measured.scan.spec.profile,
        "side": measured.scan.side,
        "seeds": measured.scan.seeds,
        "seconds_per_caption": measured.seconds,
        "gflop_per_caption": measured.gflop,
        "combination": combination and combination.to_json() | classes,
        "why_not_combined": measured.why_not or None,
    }
