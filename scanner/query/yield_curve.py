"""How much of what a scan will flag it has found so far: the yield of the tiers of its plan.

Tiers are scanned one after another. Within a tier captions are in order of their ids, which are
hashes, so those scored are a random sample of the tier. That gives an interval for the rest of a
tier that was begun, and says nothing about tiers that were not. Their captions are less likely to
be memorized a priori; the estimate assumes that they are flagged at most as often as those of the
last tier that was begun.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from scanner.errors import UserError
from scanner.query.calibrated import Calibration
from scanner.query.connection import open_run
from scanner.run import Plan, Run
from scanner.run.compaction import SCORES
from scanner.run.results import Results
from scanner.run.sealing import check_results, make_manifest

RATE = 0.01
CONFIDENCE = 0.95
DRAWS = 20_000
LIMITS = (
    "95 % interval; captions of tiers that were not begun are assumed to be flagged at most as "
    "often as those of the last one that was; flagged is not memorized"
)
_COUNTS = """
    SELECT count(*) AS ranked, count(*) FILTER (decision >= $cut) AS flagged FROM ranking"""


@dataclass(frozen=True)
class TierYield:
    """Captions of a tier: ``planned``, ``scanned`` (scored or rejected), ``ranked`` (scored, and
    not a reference), and ``flagged``."""

    name: str
    planned: int
    scanned: int
    ranked: int
    flagged: int


@dataclass(frozen=True)
class YieldCurve:
    """The yield of the tiers, in their order.

    ``flagged_by``: what flags a caption. ``left_low``, ``left_high``: how many of the captions that
    are not scanned a whole scan would flag, with 95 % confidence and the assumption above.
    """

    flagged_by: str
    tiers: tuple[TierYield, ...]
    left_low: float
    left_high: float

    @property
    def flagged(self) -> int:
        return sum(tier.flagged for tier in self.tiers)

    def curve(self) -> list[tuple[float, float]]:
        """Return for the scan up to the end of each tier the share of all captions that is scanned,
        and the share of the captions flagged so far that it found."""
        planned = max(1, sum(tier.planned for tier in self.tiers))
        scanned = accumulate(tier.scanned for tier in self.tiers)
        found = accumulate(tier.flagged for tier in self.tiers)
        flagged = max(1, self.flagged)
        return [(one / planned, two / flagged) for one, two in zip(scanned, found, strict=True)]

    @property
    def found_low(self) -> float | None:
        """Least share of the flagged captions of a whole scan that are found; None without any."""
        return self._found(self.left_high)

    @property
    def found_high(self) -> float | None:
        return self._found(self.left_low)

    def to_json(self) -> dict[str, Any]:
        """Return what ``memscan status --yield --json`` prints."""
        pairs = zip(self.tiers, self.curve(), strict=True)
        return {
            "flagged": self.flagged,
            "flagged_by": self.flagged_by,
            "tiers": [
                {**asdict(tier), "scanned_share": scanned, "found_share": found}
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
    without one if it is in the top 1 % of the captions scored so far. Reads one commit per merged
    group or slice, and the scores of one signal. Raises UserError if nothing is scored yet, or a
    commit is damaged.
    """
    run = Run.existing(url)
    record, plan = run.record() or {}, run.plan()
    if plan is None:
        raise UserError(f"{url}: nothing is scored yet; memscan status {url} shows the progress")
    results = run.results(run.layout(plan))
    check_results(url, record["fingerprint"]["id"], plan, results)
    manifest = make_manifest(record["fingerprint"]["id"], plan, results, {}, run.quarantined())
    tables = open_run(url, calibration=calibration, manifest=manifest)
    signal = tables.decide()
    cut = tables.query(f"SELECT decision_cut({RATE}) AS cut")["cut"][0].as_py()
    has_threshold = tables.query("SELECT count(*) AS n FROM thresholds")["n"][0].as_py()
    beyond = f"beyond the calibration's threshold for {RATE:.0%} false positives, by {signal}"
    top = f"the top {RATE:.0%} of the captions scored so far, by {signal}"
    tiers = []
    for name, planned, scanned, parts in _parts_of_tiers(plan, results):
        counts = {"ranked": 0, "flagged": 0}
        if any(part["rows"] for part in parts):
            few = open_run(url, calibration=calibration, manifest={**manifest, "scores": parts})
            (counts,) = few.query(_COUNTS, {"cut": cut}).to_pylist()
        tiers.append(TierYield(name, planned, scanned, **counts))
    low, high = _left(tiers)
    return YieldCurve(beyond if has_threshold else top, tuple(tiers), low, high)


def _parts_of_tiers(
    plan: Plan, results: Results
) -> list[tuple[str, int, int, list[dict[str, Any]]]]:
    """Return for each tier its name, its planned and scanned captions, and its parts with scores,
    as a manifest has them."""
    names, tier_of = [tier.name for tier in plan.all_tiers()], plan.tier_of()
    planned, scanned = [0] * len(names), [0] * len(names)
    rows = {item.id: item.rows for item in plan.slices}
    for item in plan.slices:
        planned[tier_of[item.id]] += item.rows
    parts: list[list[dict[str, Any]]] = [[] for _ in names]
    for commit, slices in results.held:
        for name in slices:
            scanned[tier_of[name]] += rows[name]
        parts[tier_of[slices[0]]] += [
            {"path": part.path, "rows": part.rows, "sha256": part.sha256}
            for part in commit.parts
            if part.kind in SCORES
        ]
    return list(zip(names, planned, scanned, parts, strict=True))


def _left(tiers: Sequence[TierYield]) -> tuple[float, float]:
    """Return how many captions that are not scanned would be flagged, at least and at most.

    A tier's rate of flagged captions is drawn from its posterior (Jeffreys prior), then the number
    in the rest of the tier from the binomial distribution with this rate.
    """
    rng = np.random.default_rng(0)
    rates, begun, others = np.ones(DRAWS), np.zeros(DRAWS), np.zeros(DRAWS)
    for tier in tiers:
        left = tier.planned - tier.scanned
        if tier.ranked:
            rates = rng.beta(tier.flagged + 0.5, tier.ranked - tier.flagged + 0.5, DRAWS)
            begun += rng.binomial(left * tier.ranked // tier.scanned, rates)
        else:
            others += rng.binomial(left, rates)
    tail = (1 - CONFIDENCE) / 2
    return float(np.quantile(begun, tail)), float(np.quantile(begun + others, 1 - tail))
