"""From the pieces' rows to the study's tables and figures of merit.

Intervals are 95 % bootstrap percentiles over families of captions (captions of one image are drawn
together). A selective setting is the composition of two: captions whose noise norm at the first
step is above a threshold have the mitigated image, the others the unmitigated one, which is what
``mitigate(threshold=…)`` gives (its tests show it).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.study_mitigation.frechet import frechet_distance, heldout_features
from jobs.study_mitigation.rows import Rows, collect

DRAWS = 2000
FRECHET_DRAWS = 200
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Found:
    """The study's tables, a dictionary a row, and the figures of its best setting.

    undosed: the row of ``doses`` without intervention, for memorized captions.
    """

    settings: list[dict[str, Any]]
    doses: list[dict[str, Any]]
    undosed: dict[str, Any]
    tuning: list[dict[str, Any]]
    summary: dict[str, Any]


def analyse(strengths: pa.Table, doses: pa.Table, tuning: pa.Table) -> Found:
    """Choose on half 0, report on half 1."""
    halves = [collect(strengths, half) for half in (0, 1)]
    threshold = _threshold(halves[0]["none"])
    tables = [_settings(half, threshold) for half in halves]
    best = _best(tables[0])
    reported = {row["setting"]: row for row in tables[1]}
    mine, none = reported[best], reported["none"]
    runs = _tuning(tuning)
    last = max(row["step"] for row in runs)
    end = {row["run"]: row for row in runs if row["step"] == last}
    summary = {
        "best_setting": best,
        "threshold": threshold,
        "memorized_before": none["reproduced"],
        "memorized_after": mine["reproduced"],
        "memorized_fall": 1 - mine["reproduced"] / none["reproduced"],
        "others_moved": mine["others_moved"],
        "guard": {name: row["reproduced"] for name, row in end.items()},
    }
    dosed, undosed = _doses(doses)
    return Found(tables[1], dosed, undosed, runs, summary)


def _threshold(rows: Rows) -> float:
    """The noise norm that tells memorized captions from others with the fewest errors, each kind
    counted alike."""
    norm, memorized = rows.noise_norm, rows.memorized
    candidates = np.sort(norm)
    errors = [
        (norm[memorized] <= limit).mean() + (norm[~memorized] > limit).mean()
        for limit in candidates
    ]
    place = int(np.argmin(errors))
    return float(candidates[place : place + 2].mean())


def _settings(half: dict[str, Rows], threshold: float) -> list[dict[str, Any]]:
    none = half["none"]
    found = [_measures(none, none, "none")]
    for name, rows in half.items():
        if name == "none":
            continue
        found.append(_measures(rows, none, name))
        selective = rows.where(none.noise_norm > threshold, none)
        found.append(_measures(selective, none, f"{name}, selective"))
    return found


def _measures(rows: Rows, none: Rows, name: str) -> dict[str, Any]:
    """One row of the table of settings."""
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


def mean(rows: Rows, chosen: np.ndarray, values_R: np.ndarray) -> Interval:
    """The mean of the chosen rows' values, and its interval."""
    groups = _families(rows, chosen)
    total = np.array([values_R[group].sum() for group in groups])
    size = np.array([len(group) for group in groups])
    drawn = np.random.default_rng(0).integers(0, len(groups), (DRAWS, len(groups)))
    low, high = np.quantile(total[drawn].sum(1) / size[drawn].sum(1), (0.025, 0.975))
    return float(values_R[chosen].mean()), float(low), float(high)


def _frechet(rows: Rows, chosen: np.ndarray, reference_NF: np.ndarray) -> Interval:
    """The distance of the chosen rows' features to those of a reference, and its interval."""
    groups = _families(rows, chosen)
    random = np.random.default_rng(0)
    drawn = [
        frechet_distance(rows.features[np.concatenate([groups[n] for n in some])], reference_NF)
        for some in random.integers(0, len(groups), (FRECHET_DRAWS, len(groups)))
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return frechet_distance(rows.features[chosen], reference_NF), float(low), float(high)


def _families(rows: Rows, chosen: np.ndarray) -> list[np.ndarray]:
    """The places of the chosen rows, family by family."""
    places = np.flatnonzero(chosen)
    _, number = np.unique(rows.family[places], return_inverse=True)
    return [places[number == n] for n in range(number.max() + 1)]


def _named(column: str, interval: Interval) -> dict[str, float]:
    value, low, high = interval
    return {column: value, f"{column}_low": low, f"{column}_high": high}


def _best(settings: Sequence[dict[str, Any]]) -> str:
    """Of the settings that fell by 70 % or more, the one that moved other captions least; if none
    did, the one that fell furthest."""
    before = settings[0]["reproduced"]
    enough = [row for row in settings[1:] if row["reproduced"] <= 0.3 * before]
    if enough:
        return str(min(enough, key=lambda row: (row["others_moved"], row["reproduced"]))["setting"])
    return str(
        min(settings[1:], key=lambda row: (row["reproduced"], row["others_moved"]))["setting"]
    )


def _doses(table: pa.Table) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row a target, dose and kind of caption (memorized, or trained once); and none's."""
    conditions = collect(table, 1)
    none = conditions["none"]
    names = {
        row["condition"]: row for row in table.select(["condition", "target", "dose"]).to_pylist()
    }
    found = []
    for name, rows in conditions.items():
        for kind, chosen in (("memorized", rows.memorized), ("once", ~rows.memorized)):
            row = {"target": names[name]["target"], "dose": names[name]["dose"], "captions": kind}
            row |= _named("reproduced", mean(rows, chosen, rows.copied))
            row |= _named("similarity", mean(rows, chosen, 1 - rows.rmse))
            row |= _named("similarity_gain", mean(rows, chosen, none.rmse - rows.rmse))
            found.append(row)
    return found[2:], found[0]


def _tuning(table: pa.Table) -> list[dict[str, Any]]:
    """A row a run and step: what the repeated captions reproduce, and quality on the others."""
    rows = table.to_pylist()
    reference = heldout_features()
    found = []
    for run, step in dict.fromkeys((row["run"], row["step"]) for row in rows):
        here = [row for row in rows if (row["run"], row["step"]) == (run, step)]
        repeated = [row for row in here if row["role"] == "repeated"]
        others = [row for row in here if row["role"] != "repeated"]
        copied = np.array([row["copied"] for row in repeated], float)
        drawn = np.random.default_rng(0).choice(copied, (DRAWS, len(copied))).mean(1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        found.append(
            {
                "run": run,
                "step": step,
                **_named("reproduced", (float(copied.mean()), float(low), float(high))),
                "similarity": float(1 - np.mean([row["rmse"] for row in repeated])),
                "unseen_loss": here[0]["unseen_loss"],
                "others_frechet": frechet_distance(
                    np.array([row["features"] for row in others]), reference
                ),
                "left_out_share": here[0]["left_out_share"],
            }
        )
    return found
