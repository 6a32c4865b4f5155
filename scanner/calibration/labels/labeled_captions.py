"""Match labels to a run's scored captions, and group near-duplicates into clusters."""

import math
import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner.calibration.labels.labels import Labels
from scanner.calibration.statistics.bootstrap import Bools, Floats
from scanner.captions.identity import caption_ids, normalize_like_clip
from scanner.errors import UserError
from scanner.query import RunTables, near_duplicate_clusters

# An integer key that was stored as a float, such as 12.0.
_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")
# A field that kept the quotes of its csv, as in some published txt files.
_QUOTED = re.compile(r'"(?:[^"]|"")+"', re.DOTALL)
SHOWN = 3
_BY_KEY = """
    SELECT DISTINCT regexp_replace(key, $whole, '\\1') AS key, caption_id FROM samples
    WHERE regexp_replace(key, $whole, '\\1') IN (SELECT unnest($keys))
"""


@dataclass(frozen=True)
class LabeledCaptions:
    """N labeled captions sorted by caption_id: scores with caption, n_samples and is_reference;
    whether each is memorized; its cluster number; its class (verbatim or template), "" if it is not
    memorized or its labels do not agree on one. ``similarities``: to the nearest copy (the highest
    of the caption's labels), NaN if unknown, None if all are; ``threshold``: the least that means
    memorized, None if labels say what does.

    ``weights``: how many captions each represents, of mean 1; None if each only itself.
    ``unknown``: labels for captions that the run has not scored, of which ``first_unknown`` names a
    few; ``contradicted``: captions excluded because their labels contradict each other.
    """

    table: pa.Table
    memorized: Bools
    clusters: NDArray[np.int64]
    classes: NDArray[np.str_]
    unknown: int
    contradicted: int
    similarities: Floats | None = None
    threshold: float | None = None
    weights: Floats | None = None
    first_unknown: tuple[str, ...] = ()

    @property
    def is_reference(self) -> Bools:
        """Return whether each caption is a reference caption, (N,)."""
        return self.table["is_reference"].to_numpy(zero_copy_only=False)


def match_labels(tables: RunTables, labels: Labels) -> LabeledCaptions:
    """Look up the labeled captions in a run, including reference captions.

    Captions share a cluster if they are near-duplicates or if the labels group them. Raises
    UserError unless the captions that match include both memorized and other ones.
    """
    ids = _ids(tables, labels)
    stated = _stated(labels, ids)
    contradicted = {caption_id for caption_id, one in stated.items() if len(one.memorized) > 1}
    table = tables.query(
        "SELECT scores.*, captions.caption, captions.n_samples, captions.is_reference "
        "FROM scores JOIN captions USING (caption_id) "
        "WHERE caption_id IN (SELECT unnest($ids)) ORDER BY caption_id",
        {"ids": [caption_id for caption_id in stated if caption_id not in contradicted]},
    )
    matched = [stated[caption_id] for caption_id in table["caption_id"].to_pylist()]
    known = np.array([True in one.memorized for one in matched], bool)
    similarities = np.array([one.similarity for one in matched], float)
    if not known.any() or known.all():
        raise UserError(_unusable(labels, known, len(contradicted), similarities))
    scored = set(table["caption_id"].to_pylist()) | contradicted
    unknown = [name for name in labels.names if scored.isdisjoint(ids.get(name, ()))]
    clusters = _merge_clusters(
        near_duplicate_clusters(table.select(["caption_id", "caption"])).to_pylist(),
        [one.group for one in matched],
    )
    return LabeledCaptions(
        table,
        known,
        clusters,
        classes=np.array([one.kind for one in matched], np.str_),
        unknown=len(unknown),
        contradicted=len(contradicted),
        similarities=similarities if np.isfinite(similarities).any() else None,
        threshold=labels.threshold,
        weights=_weights(labels, matched),
        first_unknown=tuple(unknown[:SHOWN]),
    )


def _weights(labels: Labels, matched: "list[_Stated]") -> Floats | None:
    weights = np.array([one.weight for one in matched], float)
    return weights / weights.mean() if labels.weights else None


@dataclass
class _Stated:
    """What all labels of one caption state; ``similarity`` is the highest, NaN if unknown."""

    memorized: set[bool] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    group: str | None = None
    similarity: float = math.nan
    weight: float = 1.0

    @property
    def kind(self) -> str:
        """Return the class if the labels agree on one, else ""."""
        return "".join(self.classes) if len(self.classes) == 1 else ""


def _stated(labels: Labels, ids: dict[str, set[str]]) -> dict[str, _Stated]:
    """Return what the labels state, by caption_id."""
    stated: dict[str, _Stated] = {}
    count = len(labels.names)
    for name, memorized, group, kind, similarity, weight in zip(
        labels.names,
        labels.memorized,
        labels.groups,
        labels.classes or [None] * count,
        labels.similarities or [None] * count,
        labels.weights or [1.0] * count,
        strict=True,
    ):
        for caption_id in ids.get(name, ()):
            one = stated.setdefault(caption_id, _Stated())
            one.memorized.add(memorized)
            one.classes.update([kind] if kind else [])
            one.group = one.group or group
            one.weight = max(one.weight, weight)
            if similarity is not None:
                one.similarity = float(np.fmax(one.similarity, similarity))
    if labels.threshold is not None:  # samples of one caption differ without a contradiction
        for one in stated.values():
            one.memorized = {one.similarity >= labels.threshold}
    return stated


def _unusable(labels: Labels, known: Bools, contradicted: int, similarities: Floats) -> str:
    """Explain why the labels cannot be used. ``known``, ``similarities``: of the captions that
    remain."""
    subject = f"{len(labels.names):,} labels by {labels.by}"
    conflict = f"{contradicted:,} captions with contradictory labels excluded"
    if len(known) and labels.threshold is not None:
        side = "at least" if known.all() else "below"
        return (
            f"{subject}: all usable captions ({len(known):,}) have a similarity {side} "
            f"{labels.threshold:g}, from {similarities.min():g} to {similarities.max():g}; set "
            "--similarity-threshold between them, or label captions of other similarity"
        )
    if len(known):
        only = "memorized" if known.all() else "not memorized"
        missing = "--not-memorized" if known.all() else "--memorized"
        why = f"all usable captions ({len(known):,}) are labeled {only}; label some of each"
        excluded = f"; {conflict}" if contradicted else ""
        return f"{subject}: {why}{excluded}; {missing} FILE adds a list of others"
    if contradicted:
        return f"{subject}: no usable captions: {conflict}"
    return f"{subject}: none matches a caption that this run has scored"


def _ids(tables: RunTables, labels: Labels) -> dict[str, set[str]]:
    """Return the caption ids that each label refers to; a key can refer to several."""
    if labels.by == "caption_id":
        return {name: {name} for name in labels.names}
    if labels.by == "key":
        keys = {name: _WHOLE.sub(r"\1", name) for name in labels.names}
        rows = tables.query(_BY_KEY, {"keys": list(keys.values()), "whole": _WHOLE.pattern})
        by_key: dict[str, set[str]] = {}
        ids = rows["caption_id"].to_pylist()
        for key, caption_id in zip(rows["key"].to_pylist(), ids, strict=True):
            by_key.setdefault(key, set()).add(caption_id)
        return {name: by_key[key] for name, key in keys.items() if key in by_key}
    # The spelling in the run, or any that CLIP's tokenizers normalize to the same text. Captions of
    # other families have no other spelling: they are their canonical text.
    rows = tables.query(
        "SELECT caption, caption_id FROM captions WHERE caption IN (SELECT unnest($names))",
        {"names": labels.names},
    )
    exact = dict(zip(rows["caption"].to_pylist(), rows["caption_id"].to_pylist(), strict=True))
    normalized = caption_ids(map(normalize_like_clip, labels.names)).to_pylist()
    ids = {
        name: {exact.get(name, caption_id)}
        for name, caption_id in zip(labels.names, normalized, strict=True)
    }
    quoted = [name for name in labels.names if _QUOTED.fullmatch(name)]
    plain = caption_ids(normalize_like_clip(name[1:-1].replace('""', '"')) for name in quoted)
    for name, caption_id in zip(quoted, plain.to_pylist(), strict=True):
        ids[name].add(caption_id)
    return ids


def _merge_clusters(near: list[str], groups: list[str | None]) -> NDArray[np.int64]:
    """Return cluster numbers: the connected components of rows that share a near-duplicate cluster
    or a group."""
    from scipy.sparse import coo_array  # loads slowly
    from scipy.sparse.csgraph import connected_components

    edges = [(row, f"near {cluster}") for row, cluster in enumerate(near)]
    edges += [(row, f"group {group}") for row, group in enumerate(groups) if group is not None]
    nodes = {node: k + len(near) for k, node in enumerate(dict.fromkeys(n for _, n in edges))}
    rows, columns = [row for row, _ in edges], [nodes[node] for _, node in edges]
    size = len(near) + len(nodes)
    links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    return connected_components(links, directed=False)[1][: len(near)].astype(np.int64)
