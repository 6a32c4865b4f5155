"""Compute the study's tables and summary from the tasks' rows.

Intervals are 95 % bootstrap percentiles over families of captions (captions of one image are
resampled together). A selective setting combines two conditions: captions whose noise norm at the
first step is above a threshold take the mitigated image, the others the unmitigated one, as
``mitigate(threshold=…)`` does (tested with it).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.studies.mitigation.frechet import frechet_distance, heldout_features
from jobs.studies.mitigation.results import ConditionResults, by_condition

DRAWS = 2000
FRECHET_DRAWS = 200
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class StudyResult:
    """The study's tables as one dictionary per row, and a summary of its best setting.

    ``without_dose``: the row without intervention for memorized captions, which ``doses`` lacks.
    """

    settings: list[dict[str, Any]]
    doses: list[dict[str, Any]]
    without_dose: dict[str, Any]
    summary: dict[str, Any]


def analyze(mitigations: pa.Table, doses: pa.Table) -> StudyResult:
    """Choose the best setting on half 0 and report half 1."""
    halves = [by_condition(mitigations, half) for half in (0, 1)]
    threshold = choose_threshold(halves[0]["none"])
    tables = [settings_table(half, threshold) for half in halves]
    best = choose_setting(tables[0])
    reported = {row["setting"]: row for row in tables[1]}
    chosen, none = reported[best], reported["none"]
    summary = {
        "best_setting": best,
        "threshold": threshold,
        "memorized_before": none["reproduced"],
        "memorized_after": chosen["reproduced"],
        "memorized_reduction": 1 - chosen["reproduced"] / none["reproduced"],
        "others_moved": chosen["others_moved"],
    }
    dosed, without_dose = _doses(doses)
    return StudyResult(tables[1], dosed, without_dose, summary)


def choose_threshold(rows: ConditionResults) -> float:
    """Return the noise norm with the highest balanced accuracy for memorized captions."""
    norm, memorized = rows.noise_norm, rows.memorized
    candidates = np.sort(norm)
    errors = [
        (norm[memorized] <= threshold).mean() + (norm[~memorized] > threshold).mean()
        for threshold in candidates
    ]
    best = int(np.argmin(errors))
    return float(candidates[best : best + 2].mean())


def settings_table(half: dict[str, ConditionResults], threshold: float) -> list[dict[str, Any]]:
    """Return one row per setting, applied to every caption, and to those above the threshold."""
    none = half["none"]
    table = [_measures(none, none, "none")]
    for name, rows in half.items():
        if name == "none":
            continue
        table.append(_measures(rows, none, name))
        selective = rows.where(none.noise_norm > threshold, none)
        table.append(_measures(selective, none, f"{name}, selective"))
    return table


def _measures(rows: ConditionResults, none: ConditionResults, name: str) -> dict[str, Any]:
    """Return one row of the table of settings."""
    memorized, others = rows.memorized, ~rows.memorized
    row: dict[str, Any] = {"setting": name}
    for column, values, chosen in (
        ("reproduced", rows.copied, memorized),
        ("similarity", 1 - rows.rmse, memorized),
        ("agreement", rows.agreement(), memorized),
        ("others_moved", rows.distance(none), others),
        ("memorized_moved", rows.distance(none), memorized),
        ("others_alignment", rows.alignment, others),
    ):
        row |= _named(column, mean(rows, chosen, values))
    return row | _named("others_frechet", _frechet(rows, others, heldout_features()))


def mean(rows: ConditionResults, chosen: np.ndarray, values_R: np.ndarray) -> Interval:
    """Return the mean of the chosen rows' values with its interval."""
    groups = _families(rows, chosen)
    total = np.array([values_R[group].sum() for group in groups])
    size = np.array([len(group) for group in groups])
    drawn = np.random.default_rng(0).integers(0, len(groups), (DRAWS, len(groups)))
    low, high = np.quantile(total[drawn].sum(1) / size[drawn].sum(1), (0.025, 0.975))
    return float(values_R[chosen].mean()), float(low), float(high)


def _frechet(rows: ConditionResults, chosen: np.ndarray, reference_NF: np.ndarray) -> Interval:
    """Return the Fréchet distance of the chosen rows to a reference, with its interval."""
    groups = _families(rows, chosen)
    random = np.random.default_rng(0)
    drawn = [
        frechet_distance(rows.features[np.concatenate([groups[n] for n in sample])], reference_NF)
        for sample in random.integers(0, len(groups), (FRECHET_DRAWS, len(groups)))
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return frechet_distance(rows.features[chosen], reference_NF), float(low), float(high)


def _families(rows: ConditionResults, chosen: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the chosen rows per family."""
    indices = np.flatnonzero(chosen)
    _, family = np.unique(rows.family[indices], return_inverse=True)
    return [indices[family == number] for number in range(family.max() + 1)]


def _named(column: str, interval: Interval) -> dict[str, float]:
    value, low, high = interval
    return {column: value, f"{column}_low": low, f"{column}_high": high}


def choose_setting(settings: Sequence[dict[str, Any]]) -> str:
    """Return the setting that changes other captions least among those that reduce copying by at
    least 70 %, or the one that reduces it most if none does."""
    before = settings[0]["reproduced"]
    sufficient = [row for row in settings[1:] if row["reproduced"] <= 0.3 * before]
    if sufficient:
        return str(
            min(sufficient, key=lambda row: (row["others_moved"], row["reproduced"]))["setting"]
        )
    return str(
        min(settings[1:], key=lambda row: (row["reproduced"], row["others_moved"]))["setting"]
    )


def _doses(table: pa.Table) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return one row per target, dose and kind of caption (memorized or trained once), and the row
    without intervention for memorized captions."""
    conditions = by_condition(table, 1)
    none = conditions["none"]
    names = {
        row["condition"]: row for row in table.select(["condition", "target", "dose"]).to_pylist()
    }
    summary = []
    for name, rows in conditions.items():
        for kind, chosen in (("memorized", rows.memorized), ("once", ~rows.memorized)):
            row = {"target": names[name]["target"], "dose": names[name]["dose"], "captions": kind}
            row |= _named("reproduced", mean(rows, chosen, rows.copied))
            row |= _named("similarity", mean(rows, chosen, 1 - rows.rmse))
            row |= _named("similarity_gain", mean(rows, chosen, none.rmse - rows.rmse))
            summary.append(row)
    return summary[2:], summary[0]
