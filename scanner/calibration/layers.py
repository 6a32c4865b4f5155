"""Measure how well each layer of the per-layer signals separates labeled captions."""

from dataclasses import dataclass

import numpy as np

from scanner.calibration.evaluation.separation import Separation, separation
from scanner.calibration.features import direction, feature_matrix, layer_signals
from scanner.calibration.labels.labeled_captions import LabeledCaptions
from scanner.query import RunTables


@dataclass(frozen=True)
class SelectedLayer:
    """The layer and direction that separate best on one half of the captions, and their separation
    on the other half. ``direction``: +1 if higher means memorized, −1 if lower."""

    layer: int
    direction: int
    separation: Separation


@dataclass(frozen=True)
class LayerEvaluation:
    """Separation of every layer, by signal.

    ``all_layers`` uses the documented direction and all captions. Choosing a layer by those figures
    would overstate it: ``selected`` chooses on one half of the captions, and reports on the other.
    """

    all_layers: dict[str, list[Separation]]
    selected: dict[str, SelectedLayer]


def evaluate_layers(tables: RunTables, labeled: LabeledCaptions) -> LayerEvaluation:
    """Compare the scores of every layer with the labels, including reference captions."""
    known, clusters = labeled.memorized, labeled.clusters
    all_layers, selected = {}, {}
    for name in layer_signals(tables.schema):
        values, _ = feature_matrix(labeled.table, [name])
        sign = direction(tables.schema.field(name))
        all_layers[name] = [separation(layer, known, clusters, sign) for layer in values.T]
        selected[name] = select_layer(values, known, clusters)
    return LayerEvaluation(all_layers, selected)


def select_layer(
    values_NK: np.ndarray, positive: np.ndarray, clusters: np.ndarray, seed: int = 0
) -> SelectedLayer:
    """Choose one of K layers on half of the clusters, and report on the other half.

    Both halves have the same share of memorized clusters.
    """
    names, first = np.unique(clusters, return_index=True)
    chosen = np.zeros(len(names), bool)
    random = np.random.default_rng(seed)
    for label in (True, False):
        members = random.permutation(np.flatnonzero(positive[first] == label))
        chosen[members[: len(members) // 2]] = True
    half = np.isin(clusters, names[chosen])
    aucs = [
        separation(values_NK[half, k], positive[half], clusters[half]).auc
        for k in range(values_NK.shape[1])
    ]
    layer = int(np.argmax(np.abs(np.array(aucs) - 0.5)))
    sign = 1 if aucs[layer] >= 0.5 else -1
    rest = separation(values_NK[~half, layer], positive[~half], clusters[~half], sign)
    return SelectedLayer(layer, sign, rest)
