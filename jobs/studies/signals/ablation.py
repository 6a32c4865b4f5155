"""Measure what each signal adds to the combination of a profile's signals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.studies.signals.comparison import alone
from jobs.studies.signals.testbed_runs import TestbedRuns
from scanner.calibration.combination import cross_fit
from scanner.calibration.evaluation.separation import replicates
from scanner.calibration.features import feature_matrix
from scanner.calibration.statistics.bootstrap import Floats, interval
from scanner.scoring import Scorer
from scanner.scoring.profiles import PROFILES

BASES = ("standard", "thorough")
FPR = 0.01


@dataclass(frozen=True)
class Replicates:
    """AUC and TPR at 1 % FPR of one score (R,): of the data, then of the bootstrap draws."""

    auc: Floats
    tpr: Floats


@dataclass(frozen=True)
class Addition:
    """What a signal adds to a profile's combination: replicates without and with the signal, and
    of the signal alone, all on the captions that have it. ``is_in``: it is one of the profile's
    signals."""

    name: str
    captions: int
    is_in: bool
    without: Replicates
    with_it: Replicates
    single: Replicates

    @property
    def verdict(self) -> str:
        """Return "yes" if the interval of the gain in AUC or TPR is above 0, "no" otherwise, or
        "harms" if one is below 0 and none above."""
        gains = self.with_it.auc - self.without.auc, self.with_it.tpr - self.without.tpr
        intervals = [interval(gain) for gain in gains]
        if any(low > 0 for low, _ in intervals):
            return "yes"
        return "harms" if any(high < 0 for _, high in intervals) else "no"


def ablation(testbed: TestbedRuns) -> list[str]:
    """Return a Markdown table per profile in BASES with a row per signal: the cross-fitted
    combination of the profile's signals with and without it, and the paired differences."""
    parts = {name: testbed.with_scores_in(name) for name in testbed.signals}
    singles = {name: _evaluate(part, alone(part, name)) for name, part in parts.items()}
    lines: list[str] = []
    for profile in BASES:
        lines += ["", *_table(profile, _additions(testbed, profile, singles))]
    return lines[1:]


def _additions(
    testbed: TestbedRuns, profile: str, singles: dict[str, Replicates]
) -> list[Addition]:
    """Return what each signal adds. ``singles``: of each signal alone."""
    depth = _depth(testbed, profile)
    base = [name for name in testbed.signals if name in PROFILES[profile].signals]
    whole_of: dict[bytes, Replicates] = {}  # by the captions that it is fitted on
    added = []
    for name, single in singles.items():
        part, captions = testbed.with_scores_in(name), testbed.has(name)
        whole = whole_of.get(captions.tobytes()) or _combine(part, base, depth)
        whole_of[captions.tobytes()] = whole
        is_in = name in base
        names = [one for one in base if one != name] if is_in else [*base, name]
        changed = _combine(part, names, depth)
        without, with_it = (changed, whole) if is_in else (whole, changed)
        added.append(Addition(name, int(captions.sum()), is_in, without, with_it, single))
    return added


def _table(profile: str, rows: Sequence[Addition]) -> list[str]:
    whole = next(row.with_it for row in rows if row.is_in)
    low, high = interval(whole.auc)
    tpr_low, tpr_high = interval(whole.tpr)
    lines = [
        f"Combination of `{profile}`: AUC {whole.auc[0]:.4f} ({low:.4f} to {high:.4f}), TPR at 1 % "
        f"FPR {whole.tpr[0]:.2f} ({tpr_low:.2f} to {tpr_high:.2f}). It consists of "
        f"{', '.join(f'`{row.name}`' for row in rows if row.is_in)}.",
        "",
        "| signal | part of it | AUC without | AUC with | AUC gained | TPR gained | adds | "
        "alone: AUC above the combination with it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    captions = max(row.captions for row in rows)
    for row in rows:
        on = "" if row.captions == captions else f", on {row.captions:,} captions"
        cells = [
            f"`{row.name}`{on}",
            "yes" if row.is_in else "no",
            f"{row.without.auc[0]:.4f}",
            f"{row.with_it.auc[0]:.4f}",
            _gain(row.with_it.auc - row.without.auc, 4),
            _gain(row.with_it.tpr - row.without.tpr, 2),
            row.verdict,
            _gain(row.single.auc - row.with_it.auc, 4),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _gain(difference: Floats, digits: int) -> str:
    low, high = interval(difference)
    return f"{difference[0]:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _combine(testbed: TestbedRuns, names: Sequence[str], depth: int | None) -> Replicates:
    """Evaluate the cross-fitted combination. ``depth``: use only so many layers of a column."""
    labeled = testbed.labeled
    parts = [feature_matrix(labeled.table, [name])[0][:, :depth] for name in names]
    fitted = cross_fit(np.hstack(parts), labeled.memorized, labeled.clusters)
    return _evaluate(testbed, fitted)


def _evaluate(testbed: TestbedRuns, scores: Floats) -> Replicates:
    labeled = testbed.labeled
    auc, tpr = replicates(scores, labeled.memorized, labeled.clusters, (FPR,))
    return Replicates(auc, tpr[:, 0])


def _depth(testbed: TestbedRuns, profile: str) -> int | None:
    """Return the number of layers that the profile's forward at step 0 runs; None for all."""
    schedule = Scorer(testbed.model, profile, seeds=1).schedule
    return schedule.on_noise[max(schedule.on_noise)]
