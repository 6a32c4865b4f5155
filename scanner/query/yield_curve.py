"""How much of what a scan flags it has found so far: the yield of the tiers of its plan.

Tiers are scanned one after another. Within a tier captions are in order of their ids, which are
hashes, so those scored are a random sample of the tier. That gives an interval for the rest of a
tier that was begun, and says nothing about tiers that were not. Their captions are less likely to
be memorized a priori; the estimate assumes that they are flagged at most as often as those of the
last tier that was begun. Of the first tier of an extension nothing is assumed.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from scanner.errors import UserError
from scanner.query.calibrated import Calibration
from scanner.query.connection import RunTables, open_run
from scanner.run import Plan, Run
from scanner.run.compaction import SCORES, Layout
from scanner.run.sealing import check_results, make_manifest

RATE = 0.01
CONFIDENCE = 0.95
DRAWS = 20_000
# Slices and merged groups of slices of a tier whose scores are read.
MOST_READ = 200
LIMITS = (
    "95 % interval; captions of tiers that were not begun are assumed to be flagged at most as "
    "often as those of the last one that was; flagged is not memorized"
)
_COUNTS = """
    SELECT count(*) AS ranked, count(*) FILTER (rank_score >= $threshold) AS flagged FROM ranking"""
# As rank_threshold uses it.
_HAS_THRESHOLD = f"""
    SELECT count(*) > 0 AS found FROM thresholds
    WHERE signal = (SELECT rank_signal FROM ranking LIMIT 1) AND false_positive_rate = {RATE}"""


@dataclass(frozen=True)
class TierYield:
    """Captions of a tier of a generation of the plan: ``planned``; ``scanned`` (scored or
    rejected); ``read``, the scanned ones of the slices whose scores were read; and of these
    ``ranked`` (scored, and not a reference) and ``flagged``."""

    name: str
    planned: int
    scanned: int
    read: int
    ranked: int
    flagged: int
    generation: int = 0

    @property
    def found(self) -> float:
        """Number of flagged captions; an estimate if not all that was scanned was read."""
        return self.flagged * self.scanned / max(1, self.read)


@dataclass(frozen=True)
class YieldCurve:
    """The yield of the tiers, in their order.

    ``flagged_by``: what flags a caption. ``left_low``, ``left_high``: how many of the captions that
    are not scanned it would flag, with 95 % confidence and the assumption above.
    """

    flagged_by: str
    tiers: tuple[TierYield, ...]
    left_low: float
    left_high: float

    @property
    def flagged(self) -> float:
        return sum(tier.found for tier in self.tiers)

    def curve(self) -> list[tuple[float, float]]:
        """Return for the scan up to the end of each tier the share of all captions that is scanned,
        and the share of the captions flagged so far that it found."""
        planned = max(1, sum(tier.planned for tier in self.tiers))
        scanned = accumulate(tier.scanned for tier in self.tiers)
        found = accumulate(tier.found for tier in self.tiers)
        flagged = self.flagged or 1
        return [(one / planned, two / flagged) for one, two in zip(scanned, found, strict=True)]

    @property
    def found_low(self) -> float | None:
        """Least share of the captions to flag that are found; None without any."""
        return self._found(self.left_high)

    @property
    def found_high(self) -> float | None:
        return self._found(self.left_low)

    def to_json(self) -> dict[str, Any]:
        """Return what ``memscan status --yield --json`` prints."""
        pairs = zip(self.tiers, self.curve(), strict=True)
        return {
            "flagged": round(self.flagged),
            "is_estimate": any(tier.read < tier.scanned for tier in self.tiers),
            "flagged_by": self.flagged_by,
            "tiers": [
                {
                    **asdict(tier),
                    "found": tier.found,
                    "scanned_share": scanned,
                    "found_share": found,
                }
                for tier, (scanned, found) in pairs
            ],
            "left_low": self.left_low,
            "left_high": self.left_high,
            "found_low": self.found_low,
            "found_high": self.found_high,
            "limits": LIMITS,
        }

    def _found(self, left: float) -> float | None:
        total = self.flagged + left
        return self.flagged / total if total else None


def measure_yield(url: str, calibration: Calibration | None = None) -> YieldCurve:
    """Count the flagged captions of each tier of a run, sealed or not, in the committed slices.

    A caption is flagged if it is beyond the threshold of the calibration at 1 % false positives, or
    without one if it is in the top 1 % of the captions read. Reads the scores of one signal, of at
    most MOST_READ slices or merged groups of a tier, chosen at random. Raises UserError if nothing
    is scored yet, or a commit is damaged.
    """
    run = Run.existing(url)
    record, plans = run.record() or {}, run.plans()
    if not plans:
        raise UserError(f"{url}: nothing is scored yet; memscan status {url} shows the progress")
    plan, fingerprint = Plan.joined(plans), record["fingerprint"]["id"]
    generations = [number for number, one in enumerate(plans) for _ in one.all_tiers()]
    rows = {item.id: item.rows for item in plan.slices}
    layout = run.layout(plan)
    tiers, kept = _tiers(plan, rows, layout)
    results = run.results(kept)
    check_results(url, fingerprint, plan, results)
    manifest = make_manifest(fingerprint, plan, results, {})
    tables = open_run(url, calibration=calibration, manifest=manifest)
    read_all = len(kept.merged) + len(kept.single) == len(layout.merged) + len(layout.single)
    flagged_by, threshold = _threshold(tables, "scored so far" if read_all else "read")
    parts: list[list[dict[str, Any]]] = [[] for _ in tiers]
    read, tier_of = [0] * len(tiers), plan.tier_of()
    for commit, slices in results.held:
        tier = _tier(slices, rows, tier_of)
        read[tier] += sum(rows[name] for name in slices)
        parts[tier] += [
            {"path": part.path, "rows": part.rows, "sha256": part.sha256}
            for part in commit.parts
            if part.kind in SCORES and part.rows
        ]
    found = []
    for tier, (name, planned, scanned) in enumerate(tiers):
        counts = {"ranked": 0, "flagged": 0}
        if parts[tier]:
            own = {**manifest, "scores": parts[tier]}
            few = open_run(url, calibration=calibration, manifest=own)
            (counts,) = few.query(_COUNTS, {"threshold": threshold}).to_pylist()
        generation = generations[tier]
        found.append(TierYield(name, planned, scanned, read[tier], **counts, generation=generation))
    return YieldCurve(flagged_by, tuple(found), *_left(found))


def _threshold(tables: RunTables, which: str) -> tuple[str, float | None]:
    """Return what flags a caption, and the lowest rank_score flagged; ``which``: completes
    "the top 1 % of the captions …". If only some slices of a tier are read, that tier is
    underrepresented in this top 1 %."""
    signal = tables.rank_by()
    threshold = tables.query(f"SELECT rank_threshold({RATE}) AS threshold")["threshold"][0].as_py()
    if tables.query(_HAS_THRESHOLD)["found"][0].as_py():
        by = f"beyond the calibration's threshold for {RATE:.0%} false positives, by {signal}"
    else:
        by = f"the top {RATE:.0%} of the captions {which}, by {signal}"
    return by, threshold


def _tiers(
    plan: Plan, rows: dict[str, int], layout: Layout
) -> tuple[list[tuple[str, int, int]], Layout]:
    """Return each tier's name and its planned and scanned captions; and where the results are that
    are read."""
    tier_of = plan.tier_of()
    names = [tier.name for tier in plan.all_tiers()]
    planned, scanned = [0] * len(names), [0] * len(names)
    for item in plan.slices:
        planned[tier_of[item.id]] += item.rows
    units: list[list[Any]] = [[] for _ in names]
    for unit, slices in _units(layout):
        tier = _tier(slices, rows, tier_of)
        scanned[tier] += sum(rows[name] for name in slices)
        units[tier].append(unit)
    generator = random.Random(0)
    few = [one if len(one) <= MOST_READ else generator.sample(one, MOST_READ) for one in units]
    chosen = {unit.id for one in few for unit in one}
    kept = Layout(
        tuple(group for group in layout.merged if group.id in chosen),
        tuple(item for item in layout.single if item.id in chosen),
        (),
    )
    return list(zip(names, planned, scanned, strict=True)), kept


def _units(layout: Layout) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield the merged groups and single slices, with the ids of their slices."""
    for group in layout.merged:
        yield group, tuple(item.id for item in group.slices)
    for item in layout.single:
        yield item, (item.id,)


def _tier(slices: Sequence[str], rows: dict[str, int], tier_of: dict[str, int]) -> int:
    """Return the tier of most captions of slices: a merged group may reach into the next one."""
    counts: dict[int, int] = {}
    for name in slices:
        counts[tier_of[name]] = counts.get(tier_of[name], 0) + rows[name]
    return max(counts, key=lambda tier: counts[tier])


def _left(tiers: Sequence[TierYield]) -> tuple[float, float]:
    """Return how many captions that are not scanned would be flagged, at least and at most.

    A tier's rate of flagged captions is drawn from its posterior (Jeffreys prior), then the number
    in the rest of the tier from the binomial distribution with this rate.
    """
    rng = np.random.default_rng(0)
    rates, begun, others = np.ones(DRAWS), np.zeros(DRAWS), np.zeros(DRAWS)
    generation = 0
    for tier in tiers:
        left = max(0, tier.planned - tier.scanned)
        if tier.generation != generation:
            rates, generation = np.ones(DRAWS), tier.generation
        if tier.ranked:
            rates = rng.beta(tier.flagged + 0.5, tier.ranked - tier.flagged + 0.5, DRAWS)
            ranked = min(left, left * tier.ranked // max(1, tier.read))
            begun += rng.binomial(ranked, rates)
        else:
            others += rng.binomial(left, rates)
    tail = (1 - CONFIDENCE) / 2
    return float(np.quantile(begun, tail)), float(np.quantile(begun + others, 1 - tail))
