"""Compare each signal's published direction with what the testbed has memorized, and the
candidates for ranking a triage run without a calibration.

The tables of scanner/signals/README.md come from it:

memscan demo --out DEMO --profile trajectory
python -m jobs.study_signals DEMO/run-trajectory
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from jobs.terminal import command, show

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scanner.calibration import Separation
    from scanner.calibration.labelled_captions import LabelledCaptions

DIRECTION = {1: "higher", -1: "lower", 0: "–"}
BASE = "bos_mass"
# Triage's signals in their published directions, alone and combined without labels.
COMBINED = (
    ("bos_mass", "prompt_mass"),
    ("entropy_e", "bos_mass", "prompt_mass"),
    ("entropy_e", "bos_mass", "prompt_mass", "summary_mass"),
)


@dataclass(frozen=True)
class StudyConfig:
    """Which run."""

    run: Annotated[str, tyro.conf.Positional]
    """A run of the demo."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(StudyConfig, "study-signals", __doc__, _study, arguments)


def _study(config: StudyConfig) -> int:
    from scanner.calibration import Labels, match_labels
    from scanner.query import open_run
    from scanner.testbed import files

    labelled = match_labels(open_run(config.run), Labels.from_table(files.labels()))
    show("\n".join([*directions(labelled), "", *candidates(labelled)]))
    return 0


def directions(labelled: "LabelledCaptions") -> list[str]:
    """A Markdown table: each signal's direction in the catalog, and its AUC in that direction."""
    from scanner.calibration.separation import separation
    from scanner.scoring.catalog import SIGNALS

    lines = [
        "| column | memorized is, by its publication | AUC in that direction, 95 % interval | |",
        "|---|---|---|---|",
    ]
    for name, signal in SIGNALS.items():
        if name not in labelled.table.column_names or not signal.memorized:
            continue
        found = [
            separation(values, labelled.memorized, labelled.clusters, signal.memorized)
            for values in _columns(labelled, name)
        ]
        lines.append(f"| `{name}` | {DIRECTION[signal.memorized]} | {_judged(found)} |")
    return lines


def candidates(labelled: "LabelledCaptions") -> list[str]:
    """A Markdown table: triage's signals and combinations of them that need no labels."""
    from scanner.calibration.separation import auc_gain, separation

    base = _oriented(labelled, BASE)
    lines = [
        f"| ranked by | AUC, 95 % interval | TPR at 1 % FPR | AUC above `{BASE}`, 95 % interval |",
        "|---|---|---|---|",
    ]
    for name, scores in _candidates(labelled).items():
        one = separation(scores, labelled.memorized, labelled.clusters)
        more = auc_gain(scores, base, labelled.memorized, labelled.clusters)
        lines.append(
            f"| {name} | {_interval(one)} | {one.at_fpr[0.01].tpr:.3f} | "
            f"{more.auc:+.3f}, {more.low:+.3f} – {more.high:+.3f} |"
        )
    return lines


def _candidates(labelled: "LabelledCaptions") -> "dict[str, NDArray[np.float64]]":
    import numpy as np

    alone = {name: _oriented(labelled, name) for name in COMBINED[-1]}
    found = {f"`{name}`": scores for name, scores in alone.items()}
    for names in COMBINED:
        listed = ", ".join(f"`{name}`" for name in names)
        found[f"mean rank of {listed}"] = np.mean([_ranks(alone[name]) for name in names], 0)
        found[f"mean robust z of {listed}"] = np.mean([_robust_z(alone[name]) for name in names], 0)
    return found


def _columns(labelled: "LabelledCaptions", name: str) -> "NDArray[np.float64]":
    """A signal's values (K, N): of a list column, one row for each layer."""
    from scanner.calibration.features import feature_matrix

    return feature_matrix(labelled.table, [name])[0].T


def _oriented(labelled: "LabelledCaptions", name: str) -> "NDArray[np.float64]":
    from scanner.scoring.catalog import SIGNALS

    return SIGNALS[name].memorized * _columns(labelled, name)[0]


def _ranks(values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    return values.argsort(kind="stable").argsort(kind="stable") / len(values)


def _robust_z(values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    import numpy as np

    centred = values - np.median(values)
    return centred / (1.4826 * np.median(np.abs(centred)))


def _judged(found: "list[Separation]") -> str:
    """AUC and whether the testbed agrees: the interval lies above, below or around chance."""
    if len(found) > 1:
        by_layer = sorted(one.auc for one in found)
        return f"{by_layer[0]:.3f} to {by_layer[-1]:.3f} by layer | {_layers(found)}"
    (one,) = found
    if one.auc_low > 0.5:
        return f"{_interval(one)} | agrees"
    return f"{_interval(one)} | {'**contradicts**' if one.auc_high < 0.5 else 'undecided'}"


def _layers(found: "list[Separation]") -> str:
    agree = sum(one.auc_low > 0.5 for one in found)
    contradict = sum(one.auc_high < 0.5 for one in found)
    return f"{agree} of {len(found)} layers agree, {contradict} contradict"


def _interval(one: "Separation") -> str:
    return f"{one.auc:.3f}, {one.auc_low:.3f} – {one.auc_high:.3f}"


if __name__ == "__main__":
    sys.exit(main())
