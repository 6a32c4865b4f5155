"""Compare each signal's published direction with the labels, and candidate scores for ranking a
triage run without a calibration."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from jobs.studies.signals.testbed_runs import TestbedRuns
    from scanner.calibration import LabeledCaptions, Separation

DIRECTION = {1: "higher", -1: "lower", 0: "–"}
BASE = "bos_mass"
# Triage's signals in their published directions, single and combined without labels.
TRIAGE = ("entropy_e", "bos_mass", "prompt_mass", "summary_mass")
COMBINED = (
    ("bos_mass", "prompt_mass"),
    ("entropy_e", "bos_mass", "prompt_mass"),
    TRIAGE,
)


def directions(testbed: "TestbedRuns") -> list[str]:
    """Return a Markdown table of each signal's direction in the catalog and its AUC in it."""
    from scanner.calibration.evaluation.separation import separation
    from scanner.scoring.catalog import SIGNALS

    lines = [
        "| column | memorized is, by its publication | AUC in that direction, 95 % interval | |",
        "|---|---|---|---|",
    ]
    for name in testbed.signals:
        signal = SIGNALS[name]
        part = testbed.with_scores_in(name).labeled
        separations = [
            separation(values, part.memorized, part.clusters, signal.memorized)
            for values in _columns(part, name)
        ]
        lines.append(f"| `{name}` | {DIRECTION[signal.memorized]} | {_verdict(separations)} |")
    return lines


def candidates(labeled: "LabeledCaptions") -> list[str]:
    """Return a Markdown table of triage's signals and combinations of them that need no labels."""
    from scanner.calibration.evaluation.separation import auc_gain, separation

    base = _oriented(labeled, BASE)
    lines = [
        f"| ranked by | AUC, 95 % interval | TPR at 1 % FPR | AUC above `{BASE}`, 95 % interval |",
        "|---|---|---|---|",
    ]
    for name, scores in _candidates(labeled).items():
        separated = separation(scores, labeled.memorized, labeled.clusters)
        improvement = auc_gain(scores, base, labeled.memorized, labeled.clusters)
        lines.append(
            f"| {name} | {_interval(separated)} | {separated.at_fpr[0.01].tpr:.3f} | "
            f"{improvement.auc:+.3f}, {improvement.low:+.3f} – {improvement.high:+.3f} |"
        )
    return lines


def _candidates(labeled: "LabeledCaptions") -> "dict[str, NDArray[np.float64]]":
    import numpy as np

    single = {name: _oriented(labeled, name) for name in TRIAGE}
    ranked_by = {f"`{name}`": scores for name, scores in single.items()}
    for names in COMBINED:
        joined = ", ".join(f"`{name}`" for name in names)
        ranked_by[f"mean rank of {joined}"] = np.mean([_ranks(single[name]) for name in names], 0)
        ranked_by[f"mean robust z of {joined}"] = np.mean(
            [_robust_z(single[name]) for name in names], 0
        )
    return ranked_by


def _columns(labeled: "LabeledCaptions", name: str) -> "NDArray[np.float64]":
    """Return a signal's values (K, N): one row, or one row per layer for a list column."""
    from scanner.calibration.features import feature_matrix

    return feature_matrix(labeled.table, [name])[0].T


def _oriented(labeled: "LabeledCaptions", name: str) -> "NDArray[np.float64]":
    from scanner.scoring.catalog import SIGNALS

    return SIGNALS[name].memorized * _columns(labeled, name)[0]


def _ranks(values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    return values.argsort(kind="stable").argsort(kind="stable") / len(values)


def _robust_z(values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    import numpy as np

    centred = values - np.median(values)
    return centred / (1.4826 * np.median(np.abs(centred)))


def _verdict(separations: "list[Separation]") -> str:
    """Return the AUC and whether its interval is above, below or around chance."""
    if len(separations) > 1:
        by_layer = sorted(layer.auc for layer in separations)
        return f"{by_layer[0]:.3f} to {by_layer[-1]:.3f} by layer | {_layers(separations)}"
    (single,) = separations
    if single.auc_low > 0.5:
        return f"{_interval(single)} | agrees"
    return f"{_interval(single)} | {'**contradicts**' if single.auc_high < 0.5 else 'undecided'}"


def _layers(separations: "list[Separation]") -> str:
    agree = sum(layer.auc_low > 0.5 for layer in separations)
    contradict = sum(layer.auc_high < 0.5 for layer in separations)
    return f"{agree} of {len(separations)} layers agree, {contradict} contradict"


def _interval(separated: "Separation") -> str:
    return f"{separated.auc:.3f}, {separated.auc_low:.3f} – {separated.auc_high:.3f}"
