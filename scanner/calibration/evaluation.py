"""Every signal of a run against labels, beside baselines that need no model."""

from dataclasses import dataclass

import numpy as np

from scanner.calibration.features import TEXT_ONLY, layer_signals, matrix, scalar_signals, way
from scanner.calibration.labelled import Labelled
from scanner.calibration.separation import Floats, Separation, separation
from scanner.query import RunTables


@dataclass(frozen=True)
class Picked:
    """The layer and direction that separate best on one half of the captions, and how well they
    do on the other half, which had no say. ``way``: +1 if higher means memorized, −1 if lower."""

    layer: int
    way: int
    separation: Separation


@dataclass(frozen=True)
class Evaluation:
    """Separation by signal, by signal and layer, and by what needs no model.

    ``layers`` counts every layer in its documented direction on all captions; a layer chosen by
    looking at it would flatter itself, so ``picked`` chooses on other captions than it reports.
    """

    captions: int
    memorized: int
    signals: dict[str, Separation]
    layers: dict[str, list[Separation]]
    picked: dict[str, Picked]
    text_only: dict[str, Separation]


def evaluate(tables: RunTables, labelled: Labelled) -> Evaluation:
    """Compare scores with labels, reference captions included.

    A signal counts in the direction that its column documents, text baselines as higher =
    memorized.
    """
    known, clusters = labelled.memorized, labelled.clusters

    def column(name: str) -> Floats:
        return matrix(labelled.table, [name])[0]

    signals = {
        name: separation(column(name)[:, 0], known, clusters, sign)
        for name, sign in scalar_signals(tables.schema).items()
    }
    layers, picked = {}, {}
    for name in layer_signals(tables.schema):
        values, sign = column(name), way(tables.schema.field(name))
        layers[name] = [separation(each, known, clusters, sign) for each in values.T]
        picked[name] = pick_layer(values, known, clusters)
    text_only = {
        name: separation(column(name)[:, 0], known, clusters) for name in (*TEXT_ONLY, "n_samples")
    }
    return Evaluation(len(known), int(known.sum()), signals, layers, picked, text_only)


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
