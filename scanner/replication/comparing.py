"""Compare measured figures with published ones, and mark what differs between them."""

from collections.abc import Sequence
from dataclasses import dataclass

from scanner.calibration import Separation
from scanner.replication.config import ReplicateConfig
from scanner.replication.kits import kits
from scanner.replication.measuring import Measurement
from scanner.replication.published import PublishedFigure, published


@dataclass(frozen=True)
class Comparison:
    """A published figure beside ours. ``measured``: None if no scan has the signal; ``deviation``:
    what differs in this row, "" for nothing."""

    figure: PublishedFigure
    measured: Measurement | None
    deviation: str

    @property
    def separation(self) -> Separation | None:
        return self.measured.signals[self.figure.signal] if self.measured else None

    @property
    def classes(self) -> dict[str, Separation]:
        return self.measured.by_class(self.figure.signal) if self.measured else {}


def compare(measurements: Sequence[Measurement]) -> list[Comparison]:
    """Return a comparison per published figure, in their order."""
    return [_compare(figure, measurements) for figure in published().figures]


def _compare(figure: PublishedFigure, measurements: Sequence[Measurement]) -> Comparison:
    having = [
        one
        for one in measurements
        if one.scan.at_own_side and one.scan.kind != "sweep" and figure.signal in one.signals
    ]
    if not having:
        return Comparison(figure, None, "not measured by the chosen profiles")
    nearest = min(having, key=lambda one: (abs(one.scan.seeds - figure.seeds), one.gflop))
    seeds = nearest.scan.seeds
    same = seeds == figure.seeds
    return Comparison(figure, nearest, "" if same else f"{seeds} seeds, not {figure.seeds}")


def deviations(config: ReplicateConfig) -> list[str]:
    """Return what differs from the publications in every row."""
    kit, given = config.kit, published()
    found = []
    if kit.name != given.model:
        found.append(
            f"the figures are of {kits()[given.model].title}; this page measures {kit.title}"
        )
    if config.weights:
        found.append(f"weights: {config.weights} instead of {kit.model}")
    if kit.negatives:
        found.append(f"prompts that are not memorized: {kit.negatives}")
    elif kit.is_packaged:
        found.append(f"prompts: the testbed's own captions, not {given.prompts}")
    if config.prompts is not None:
        found.append(f"only {config.prompts:,} prompts were evaluated (--limit)")
    return found


def best_measurement(
    measurements: Sequence[Measurement], comparisons: Sequence[Comparison]
) -> dict[str, Measurement]:
    """Return the measurement that stands for each signal at the model's own side.

    The one beside the published figure with the most seeds; otherwise the cheapest.
    """
    chosen: dict[str, Measurement] = {}
    for one in sorted(measurements, key=lambda each: each.gflop):
        if one.scan.at_own_side and one.scan.kind == "profile":
            for name in one.signals:
                chosen.setdefault(name, one)
    for row in sorted(comparisons, key=lambda each: each.figure.seeds):
        if row.measured:
            chosen[row.figure.signal] = row.measured
    return chosen
