"""Which scans a replication runs: profiles and a sweep of timesteps, at every side."""

from dataclasses import dataclass

from scanner.models import DiffusionModel
from scanner.replication.config import ReplicateConfig
from scanner.replication.published import published
from scanner.scoring import Scorer
from scanner.scoring.profiles import PROFILES
from scanner.scoring.spec import ScoringSpec

WHOLE = 1.0
HALVED = ("late-half", "late")
"""A profile at half the side, and the one that it equals at half the side."""


@dataclass(frozen=True)
class PlannedScan:
    """One run of a replication.

    ``kind``: profile, sweep (of the norm over timesteps), or seeds (one signal with as many seeds
    as published). ``side``: as a share of the model's own.
    """

    name: str
    kind: str
    side: float
    spec: ScoringSpec

    @property
    def seeds(self) -> int:
        return self.spec.seeds or PROFILES[self.spec.profile].seeds

    @property
    def at_own_side(self) -> bool:
        return self.side == WHOLE

    @property
    def has_default_side(self) -> bool:
        """Whether memscan scan uses this side for the profile by default."""
        return self.side == PROFILES[self.spec.profile].side

    @property
    def folder(self) -> str:
        """Return the run's directory, relative to the replication's."""
        return f"runs/{self.name}"

    def work(self, model: DiffusionModel) -> float:
        """Return the forwards per prompt, in forwards at the model's own side."""
        scorer = self.scorer(model)
        return scorer.schedule.forwards * scorer.seeds * self.side**2

    def scorer(self, model: DiffusionModel) -> Scorer:
        return Scorer.from_spec(model, self.spec)


def plan_scans(config: ReplicateConfig, model: DiffusionModel) -> list[PlannedScan]:
    """Return the scans in the order in which they run, cheap ones first.

    ``model``: on the meta device; tells which signals it can give.
    """
    sides = sorted(set(config.sides), reverse=True)
    scans = [_profile(config, name, side) for side, name in _pairs(config, sides)]
    if config.swept:
        swept = [_sweep(config, side) for side in sides]
        scans = [*swept, *scans]
    scans += _with_published_seeds(config, model, scans)
    return sorted(scans, key=lambda one: one.work(model))


def norm_column(config: ReplicateConfig, timestep: int) -> str:
    """Return the column of the sweep's norm at a timestep."""
    return f"{config.kit.norm}_{timestep}"


def _pairs(config: ReplicateConfig, sides: list[float]) -> list[tuple[float, str]]:
    chosen = [name for name in PROFILES if name in config.profiles]
    half, whole = HALVED
    pairs: list[tuple[float, str]] = []
    for side in sides:
        for name in chosen:
            if name == half and side != sides[0]:
                continue  # once: it has its own side
            if name == whole and side == PROFILES[half].side and half in chosen:
                continue  # the same scores
            pairs.append((side, name))
    return pairs


def _profile(config: ReplicateConfig, name: str, side: float) -> PlannedScan:
    own = PROFILES[name].side
    side = side if own == WHOLE else own
    pixels = _pixels(config, side)
    spec = ScoringSpec(profile=name, height=pixels, width=pixels)
    return PlannedScan(f"{name}-{_percent(side)}", "profile", side, spec)


def _sweep(config: ReplicateConfig, side: float) -> PlannedScan:
    signals = tuple(f"{config.kit.norm}@{timestep}" for timestep in config.swept)
    pixels = _pixels(config, side)
    spec = ScoringSpec(signals=signals, seeds=1, height=pixels, width=pixels)
    return PlannedScan(f"timesteps-{_percent(side)}", "sweep", side, spec)


def _with_published_seeds(
    config: ReplicateConfig, model: DiffusionModel, scans: list[PlannedScan]
) -> list[PlannedScan]:
    """Return scans of published signals with their number of seeds, where no profile has it.

    Only of signals that a chosen profile measures with another number.
    """
    measured = {
        (signal.name, scan.seeds)
        for scan in scans
        if scan.at_own_side and scan.kind == "profile"
        for signal in scan.scorer(model).signals
    }
    names = {name for name, _ in measured}
    pixels = _pixels(config, WHOLE)
    return [
        PlannedScan(
            f"{figure.signal}-seeds-{figure.seeds}",
            "seeds",
            WHOLE,
            ScoringSpec(signals=(figure.signal,), seeds=figure.seeds, height=pixels, width=pixels),
        )
        for figure in published().figures
        if figure.signal in names and (figure.signal, figure.seeds) not in measured
    ]


def _pixels(config: ReplicateConfig, side: float) -> int:
    """Return a side in pixels, rounded to what the model's layers can halve."""
    unit = config.kit.pixel_unit
    return max(1, round(side * config.kit.pixels / unit)) * unit


def _percent(side: float) -> str:
    return f"{100 * side:g}"
