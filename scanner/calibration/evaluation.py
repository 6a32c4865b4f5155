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
class Evaluation:
    """Separation by signal, by signal and layer, and by what needs no model."""

    captions: int
    memorized: int
    signals: dict[str, Separation]
    layers: dict[str, list[Separation]]
    text_only: dict[str, Separation]


def evaluate(tables: RunTables, labels: pa.Table) -> Evaluation:
    """Compare scores with labels, reference captions included.

    ``labels``: caption, memorized (bool) and optionally family (captions of one family are drawn
    together in the bootstrap). A signal counts in the direction that its column documents, text
    baselines as higher = memorized. Raises UserError where too few captions are labelled.
    """
    scored = tables.query(
        "SELECT scores.*, captions.caption, captions.n_samples "
        "FROM scores JOIN captions USING (caption_id)"
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

    signals, layers = {}, {}
    for field in tables.schema:
        way = {b"higher": 1, b"lower": -1}.get((field.metadata or {}).get(b"memorized", b""))
        if way is None:
            continue
        if pa.types.is_floating(field.type):
            signals[field.name] = judge(joined[field.name], way)
        elif field.name.endswith("_layers"):
            values = np.array(joined[field.name].to_pylist())
            layers[field.name] = [judge(values[:, k], way) for k in range(values.shape[1])]
    text_only = {name: judge(joined[name]) for name in (*TEXT_ONLY, "n_samples")}
    return Evaluation(len(joined), int(positive.sum()), signals, layers, text_only)


def _clusters(joined: pa.Table) -> np.ndarray:
    """A number for each family, and one for each caption that has none."""
    alone = pa.array([f"caption {row}" for row in range(len(joined))])
    if "family" not in joined.column_names:
        return alone.to_numpy(zero_copy_only=False)
    family = pc.cast(joined["family"], pa.string())
    return pc.coalesce(family, alone).to_numpy()
