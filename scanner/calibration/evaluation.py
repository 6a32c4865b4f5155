"""Every signal of a run against labels, beside baselines that need no model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.calibration.separation import Separation, separation
from scanner.errors import UserError
from scanner.query import RunTables

TEXT_ONLY = ("n_tokens", "title_case_fraction", "digit_fraction")


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


def evaluate(tables: RunTables, labels: pa.Table) -> Evaluation:
    """Compare scores with labels, reference captions included.

    ``labels``: caption, memorized (bool) and optionally family (captions of one family are drawn
    together in the bootstrap). A signal counts in the direction that its column documents, text
    baselines as higher = memorized. Raises UserError where too few captions are labelled.
    """
    scored = tables.query(
        "SELECT scores.*, captions.caption, captions.n_samples "
        "FROM scores JOIN captions USING (caption_id) ORDER BY caption_id"
    )
    place = pc.index_in(scored["caption"], labels["caption"].combine_chunks())
    labelled = labels.drop_columns("caption").take(pc.drop_null(place))
    joined = scored.filter(pc.is_valid(place))
    for name in labelled.column_names:
        joined = joined.append_column(name, labelled[name])
    positive = joined["memorized"].to_numpy()
    if not positive.any() or positive.all():
        raise UserError("the labels name no memorized, or no other, caption among those scored")
    clusters = _clusters(joined)

    def judge(values: Any, way: int = 1) -> Separation:
        return separation(way * np.asarray(values, float), positive, clusters)

    signals, layers, picked = {}, {}, {}
    for field in tables.schema:
        way = {b"higher": 1, b"lower": -1}.get((field.metadata or {}).get(b"memorized", b""))
        if way is None:
            continue
        if pa.types.is_floating(field.type):
            signals[field.name] = judge(joined[field.name], way)
        elif field.name.endswith("_layers"):
            values = np.array(joined[field.name].to_pylist())
            layers[field.name] = [judge(values[:, k], way) for k in range(values.shape[1])]
            picked[field.name] = pick_layer(values, positive, clusters)
    text_only = {name: judge(joined[name]) for name in (*TEXT_ONLY, "n_samples")}
    return Evaluation(len(joined), int(positive.sum()), signals, layers, picked, text_only)


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
    way = 1 if found[layer] >= 0.5 else -1
    rest = separation(way * values_NK[~half, layer], positive[~half], clusters[~half])
    return Picked(layer, way, rest)


def _clusters(joined: pa.Table) -> np.ndarray:
    """A number for each family, and one for each caption that has none."""
    alone = pa.array([f"caption {row}" for row in range(len(joined))])
    if "family" not in joined.column_names:
        return alone.to_numpy(zero_copy_only=False)
    family = pc.cast(joined["family"], pa.string())
    return pc.coalesce(family, alone).to_numpy()
