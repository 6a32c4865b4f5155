"""Tabulate how well every signal separates on each testbed, and what it costs."""

from collections.abc import Callable, Sequence

import numpy as np

from jobs.studies.signals.testbed_runs import TestbedRuns
from scanner.calibration import Separation
from scanner.calibration.combination import cross_fit
from scanner.calibration.evaluation.separation import separation
from scanner.calibration.features import feature_matrix
from scanner.calibration.statistics.bootstrap import Floats
from scanner.models import DiffusionModel
from scanner.models.random.random_weights import stable_diffusion_3, stable_diffusion_14
from scanner.scoring import Scorer
from scanner.scoring.catalog import SIGNALS
from scanner.scoring.cost import ForwardCosts, cost

FULL_SIZE: dict[str, tuple[str, Callable[[], DiffusionModel]]] = {
    "testbed": ("SD 1.4", lambda: stable_diffusion_14("float16", "meta")),
    "testbed-dit": ("SD 3", stable_diffusion_3),
}
"""By testbed, the model of its family at full size: the costs are counted for that."""

FIRST = "noise_norm_first"
"""A run of it records all layers at step 0, others only the early ones."""


def comparison(testbeds: Sequence[TestbedRuns]) -> list[str]:
    """Return a Markdown table with a row per signal: AUC and TPR at 1 % FPR on each testbed with
    their intervals, forwards per caption, and FLOPs relative to one forward with the caption."""
    heads = [
        f"`{each.name}`: AUC; TPR at 1 % FPR | forwards | FLOPs, {FULL_SIZE[each.name][0]}"
        for each in testbeds
    ]
    measured = [_measured(each) for each in testbeds]
    lines = [
        f"| column | {' | '.join(heads)} |",
        f"|---|{'---|---|---|' * len(testbeds)}",
    ]
    for name in SIGNALS:
        cells = [each.get(name, "– | – | –") for each in measured]
        if any(name in each for each in measured):
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def alone(testbed: TestbedRuns, name: str) -> Floats:
    """Return a signal's scores (N,), higher for memorized: in the direction of the catalog, or for
    a signal with one value per layer, the cross-fitted combination of its layers."""
    labeled = testbed.labeled
    values, _ = feature_matrix(labeled.table, [name])
    if values.shape[1] == 1:
        return np.asarray(SIGNALS[name].memorized * values[:, 0])
    return cross_fit(values, labeled.memorized, labeled.clusters)


def _with_interval(separated: Separation) -> str:
    """Return AUC and TPR at 1 % FPR with their intervals, as a cell."""
    point = separated.at_fpr[0.01]
    return (
        f"{separated.auc:.3f} ({separated.auc_low:.3f}–{separated.auc_high:.3f}); "
        f"{point.tpr:.2f} ({point.tpr_low:.2f}–{point.tpr_high:.2f})"
    )


def _measured(testbed: TestbedRuns) -> dict[str, str]:
    """Return the cells of each signal."""
    captions = len(testbed.labeled.memorized)
    model = FULL_SIZE[testbed.name][1]()
    model.noise_process = testbed.model.noise_process  # a signal of v costs the same on every model
    forwards = ForwardCosts(model, model.latent_shape())
    cells = {}
    for name in testbed.signals:
        part = testbed.with_scores_in(name)
        known, clusters = part.labeled.memorized, part.labeled.clusters
        separated = separation(alone(part, name), known, clusters)
        on = "" if len(known) == captions else f", on {len(known):,} captions"
        count, share = _cost(testbed, name, model, forwards)
        cells[name] = f"{_with_interval(separated)}{on} | {count} | {share:.2f}"
    return cells


def _cost(
    testbed: TestbedRuns, name: str, model: DiffusionModel, forwards: ForwardCosts
) -> tuple[int, float]:
    """Return forwards per caption, and FLOPs relative to a whole forward, of a signal alone with
    the seeds and steps of its run. A signal per layer records the layers that its run did."""
    run = testbed.fingerprints[name]
    whole = [FIRST] if name.endswith("_layers") and FIRST in run["signals"] else []
    scorer = Scorer(model, signals=[name, *whole], seeds=run["seeds"], steps=run["steps"])
    counted = cost(scorer, forwards)
    return scorer.schedule.forwards * scorer.seeds, counted.per_caption / counted.forward
