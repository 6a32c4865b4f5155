"""Each layer of the signals by layer against labels."""

from dataclasses import dataclass

import numpy as np

from scanner.calibration.features import layer_signals, matrix, way
from scanner.calibration.labelled import Labelled
from scanner.calibration.separation import Separation, separation
from scanner.query import RunTables


@dataclass(frozen=True)
class Picked:
    """The layer and direction that separate best on one half of the captions, and how well they
    do on the other half, which had no say. ``way``: +1 if higher means memorized, −1 if lower."""

    layer: int
    way: int
    separation: Separation


@dataclass(frozen=True)
class Layers:
    """How well each layer of each signal by layer separates.

    ``each`` counts every layer in its documented direction on all captions; a layer chosen by
    looking at it would flatter itself, so ``picked`` chooses on other captions than it reports.
    """

    each: dict[str, list[Separation]]
    picked: dict[str, Picked]


def by_layer(tables: RunTables, labelled: Labelled) -> Layers:
    """Compare the scores of every layer with labels, reference captions included."""
    known, clusters = labelled.memorized, labelled.clusters
    each, picked = {}, {}
    for name in layer_signals(tables.schema):
        values, _ = matrix(labelled.table, [name])
        sign = way(tables.schema.field(name))
        each[name] = [separation(one, known, clusters, sign) for one in values.T]
        picked[name] = pick_layer(values, known, clusters)
    return Layers(each, picked)


def pick_layer(
    values_NK: np.ndarray, positive: np.ndarray, clusters: np.ndarray, seed: int = 0
) -> Picked:
    """Choose among K layers on half of the clusters, report on the other half.

    The halves hold the same share of memorized clusters.
    """
    names, first = np.unique(clusters, return_index=True)
    chosen = np.zeros(len(names), bool)
    random = np.random.default_rng(seed)
    for kind in (True, False):
        alike = random.permutation(np.flatnonzero(positive[first] == kind))
        chosen[alike[: len(alike) // 2]] = True
    half = np.isin(clusters, names[chosen])
    found = [
        separation(values_NK[half, k], positive[half], clusters[half]).auc
        for k in range(values_NK.shape[1])
    ]
    layer = int(np.argmax(np.abs(np.array(found) - 0.5)))
    sign = 1 if found[layer] >= 0.5 else -1
    rest = separation(values_NK[~half, layer], positive[~half], clusters[~half], sign)
    return Picked(layer, sign, rest)
