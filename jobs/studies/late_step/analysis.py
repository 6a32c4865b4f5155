"""Tables of the study, as rows of plain values."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jobs.studies.late_step.measurements import (
    CROSS_ATTENTION,
    FIRST,
    LOW,
    SCALES,
    SEEDED,
    SIDES,
    TIMESTEPS,
    ModelScores,
)
from scanner.calibration.calibrate import TEXT_ONLY
from scanner.calibration.combination import cross_fit
from scanner.calibration.evaluation.separation import auc_gain, separation, threshold_at_fpr
from scanner.calibration.features import feature_matrix
from scanner.calibration.statistics.bootstrap import Bools, Floats

EARLY_LAYERS = 4
FPR = 0.01
SEED_COUNTS = (1, 2, 4)
GROUPS = ("memorized", "template", "repeated", "once", "heldout")
AT_FIRST = CROSS_ATTENTION
AT_LOW = tuple(f"{name}_low" for name in CROSS_ATTENTION)
# Signals of one list combined, at a latent side; the early layers only, as triage computes them.
COMBINATIONS: dict[str, tuple[tuple[str, ...], float, bool]] = {
    "attention at step 0, early layers (triage)": (AT_FIRST, 1.0, True),
    "the same, with noise_norm_low (standard)": ((*AT_FIRST, "noise_norm_low"), 1.0, True),
    "attention at step 0, all layers": (AT_FIRST, 1.0, False),
    "the same, with noise_norm_first (standard before)": (
        (*AT_FIRST, "noise_norm_first"),
        1.0,
        False,
    ),
    "the same, with both norms": ((*AT_FIRST, "noise_norm_first", "noise_norm_low"), 1.0, False),
    "attention at the low-noise step, all layers": (AT_LOW, 1.0, False),
    "the same, with noise_norm_low (late)": ((*AT_LOW, "noise_norm_low"), 1.0, False),
    "the same at half the latent side (late-half)": ((*AT_LOW, "noise_norm_low"), 0.5, False),
}
COLUMN = {"noise_norm_first": f"noise_norm_{FIRST}", "noise_norm_low": f"noise_norm_{LOW}"}

Row = dict[str, Any]


def by_timestep(model: ModelScores) -> list[Row]:
    """Return the separation of the norm at every timestep and latent side."""
    return [
        {
            "model": model.name,
            "side": side,
            "timestep": timestep,
            **separated(model, model.norm(timestep, side)),
        }
        for side in SIDES
        for timestep in TIMESTEPS
    ]


def by_seeds(model: ModelScores) -> list[Row]:
    """Return the separation of the mean norm over 1, 2 and 4 seeds."""
    return [
        {
            "model": model.name,
            "timestep": timestep,
            "seeds": count,
            **separated(model, model.norm_of_seeds(timestep, count)),
        }
        for timestep in SEEDED
        for count in SEED_COUNTS
    ]


def by_scale(model: ModelScores) -> list[Row]:
    """Return the separation of the norm for other scales of the noise."""
    rows = []
    for timestep in (FIRST, LOW):
        for scale in sorted({*SCALES, 1.0}):
            values = (
                model.norm(timestep)
                if scale == 1
                else model.extra[f"noise_norm_{timestep}_scale_{scale:g}"].to_numpy()
            )
            named = {"model": model.name, "timestep": timestep, "scale": scale}
            rows.append({**named, **separated(model, values)})
    return rows


def baselines(model: ModelScores) -> list[Row]:
    """Return the separation of what needs no model, and of other single signals."""
    table = model.captions.table
    rows = []
    for name, sign in (*((name, 1) for name in (*TEXT_ONLY, "n_samples")), ("bos_mass", -1)):
        values = sign * table[name].to_numpy().astype(float)
        rows.append({"model": model.name, "score": name, **separated(model, values)})
    rows.append(
        {"model": model.name, "score": "text combined", **separated(model, _text_only(model))}
    )
    return rows


def combinations(model: ModelScores) -> list[Row]:
    """Return the separation of cross-fitted combinations, and their gain over noise_norm_low."""
    known, clusters = model.captions.memorized, model.captions.clusters
    rows = []
    for name, (columns, side, is_early) in COMBINATIONS.items():
        values = _features(model, columns, side, is_early)
        logits = cross_fit(values, known, clusters)
        gain = auc_gain(logits, model.norm(LOW), known, clusters)
        rows.append(
            {
                "model": model.name,
                "combination": name,
                **separated(model, logits),
                "gain": gain.auc,
                "gain_low": gain.low,
                "gain_high": gain.high,
            }
        )
    return rows


def gains(model: ModelScores) -> list[Row]:
    """Return the AUC gain of the late norm over the first one, at every latent side."""
    known, clusters = model.captions.memorized, model.captions.clusters
    rows = []
    for side in SIDES:
        gain = auc_gain(model.norm(LOW, side), model.norm(FIRST), known, clusters)
        rows.append(
            {
                "model": model.name,
                "side": side,
                "gain": gain.auc,
                "gain_low": gain.low,
                "gain_high": gain.high,
            }
        )
    return rows


def by_group(model: ModelScores) -> list[Row]:
    """Return each group's labels, its norms, and the share flagged at 1 % false positives."""
    known = model.captions.memorized
    groups, reproduced = np.array(model.groups), np.array(model.reproduced)
    flagged = {timestep: _flagged(model.norm(timestep), known) for timestep in (FIRST, LOW)}
    rows = []
    for group in GROUPS:
        inside = groups == group
        row: Row = {
            "model": model.name,
            "group": group,
            "captions": int(inside.sum()),
            "memorized": int(known[inside].sum()),
            "ever_reproduced": int((reproduced[inside] > 0).sum()),
        }
        for name, timestep in (("first", FIRST), ("low", LOW)):
            norms = model.norm(timestep)[inside]
            row |= {f"norm_{name}_{q}": float(np.quantile(norms, q / 100)) for q in (5, 50, 95)}
            row[f"flagged_{name}"] = int(flagged[timestep][inside].sum())
        rows.append(row)
    return rows


def errors(model: ModelScores) -> list[Row]:
    """Return the captions that the late norm misses or flags falsely at 1 % false positives."""
    known, norms = model.captions.memorized, model.norm(LOW)
    wrong = np.flatnonzero(_flagged(norms, known) != known)
    captions = model.captions.table["caption"].to_pylist()
    percentile = np.searchsorted(np.sort(norms), norms) / len(norms)
    return [
        {
            "model": model.name,
            "error": "missed" if known[row] else "falsely flagged",
            "caption": captions[row],
            "group": model.groups[row],
            "reproduced": model.reproduced[row],
            "percentile": float(percentile[row]),
        }
        for row in sorted(wrong, key=lambda row: -norms[row])
    ]


def mistaken(model: ModelScores) -> list[Row]:
    """Return for falsely flagged captions, and others that are not memorized, how many of them
    point to an image of a memorized caption at the low-noise step."""
    known = model.captions.memorized
    flagged = _flagged(model.norm(LOW), known)
    groups = np.array(model.groups)
    points = model.extra[f"nearest_is_memorized_{LOW}"].to_numpy(zero_copy_only=False)
    kinds = {
        "falsely flagged": flagged & ~known,
        "other held-out captions": (groups == "heldout") & ~flagged,
        "other captions seen once": (groups == "once") & ~flagged & ~known,
    }
    return [
        {
            "model": model.name,
            "captions": name,
            "count": int(inside.sum()),
            "nearest_is_memorized": int(points[inside].sum()),
        }
        for name, inside in kinds.items()
    ]


def directions(model: ModelScores) -> list[Row]:
    """Return by group how closely the caption's effect points to its own image (see
    measurements), and the norms of the predictions."""
    rows = []
    for timestep in (FIRST, LOW):
        columns = {
            name: model.extra[f"{name}_{timestep}"].to_numpy()
            for name in ("own_cosine", "nearer_than", "conditional", "unconditional")
        }
        for group in GROUPS:
            inside = np.array(model.groups) == group
            row: Row = {"model": model.name, "timestep": timestep, "group": group}
            row |= {name: float(values[inside].mean()) for name, values in columns.items()}
            others = 1 - columns["nearer_than"][inside]
            row["own_image_first"] = float((others * model.images <= 1.5).mean())
            rows.append(row)
    return rows


def with_image(model: ModelScores) -> list[Row]:
    """Return the separation of the cosine with the caption's own image, which needs the image."""
    return [
        {
            "model": model.name,
            "timestep": timestep,
            **separated(model, model.extra[f"own_cosine_{timestep}"].to_numpy()),
        }
        for timestep in (FIRST, LOW)
    ]


def separated(model: ModelScores, scores: Floats) -> Row:
    """Return AUC and TPR at 1 % FPR with intervals, and the TPR with at most one false positive
    (0.08 % of 1,214), whose interval the data cannot resolve."""
    found = separation(scores, model.captions.memorized, model.captions.clusters)
    point = found.at_fpr[FPR]
    known = model.captions.memorized
    second = np.sort(scores[~known])[-2]
    return {
        "auc": found.auc,
        "auc_low": found.auc_low,
        "auc_high": found.auc_high,
        "tpr": point.tpr,
        "tpr_low": point.tpr_low,
        "tpr_high": point.tpr_high,
        "tpr_one_false": float((scores[known] > second).mean()),
    }


def _flagged(scores: Floats, known: Bools) -> Bools:
    threshold = threshold_at_fpr(scores, known, FPR)
    return scores >= (np.inf if threshold is None else threshold)


def _text_only(model: ModelScores) -> Floats:
    captions = model.captions
    values, _ = feature_matrix(captions.table, list(TEXT_ONLY))
    return cross_fit(values, captions.memorized, captions.clusters)


def _features(model: ModelScores, columns: Sequence[str], side: float, is_early: bool) -> Floats:
    parts = []
    for name in columns:
        values, _ = feature_matrix(model.scans[side].table, [COLUMN.get(name, name)])
        parts.append(values[:, :EARLY_LAYERS] if is_early else values)
    return np.hstack(parts)


TABLES: dict[str, Callable[[ModelScores], list[Row]]] = {
    "timesteps": by_timestep,
    "seeds": by_seeds,
    "scales": by_scale,
    "baselines": baselines,
    "combinations": combinations,
    "gains": gains,
    "groups": by_group,
    "errors": errors,
    "mistaken": mistaken,
    "directions": directions,
    "with_image": with_image,
}
