"""The scored captions that are labelled, and which of them belong together."""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scanner.calibration.labels import Labels
from scanner.calibration.separation import Bools
from scanner.captions.identity import caption_ids
from scanner.errors import UserError
from scanner.query import RunTables, near_duplicate_clusters

# A whole number with an empty fraction, as an integer key comes out that was stored as a float.
_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")
_BY_KEY = """
    SELECT DISTINCT regexp_replace(key, $whole, '\\1') AS key, caption_id FROM samples
    WHERE regexp_replace(key, $whole, '\\1') IN (SELECT unnest($keys))
"""


@dataclass(frozen=True)
class Labelled:
    """N captions: their scores with caption, n_samples and is_reference, sorted by caption_id;
    whether each is memorized; the number of its cluster.

    ``unknown``: names in the labels that the run has not scored; ``contradicted``: captions left
    out since the labels say both.
    """

    table: pa.Table
    memorized: Bools
    clusters: NDArray[np.int64]
    unknown: int
    contradicted: int

    @property
    def reference(self) -> Bools:
        return self.table["is_reference"].to_numpy(zero_copy_only=False)


def match(tables: RunTables, labels: Labels) -> Labelled:
    """Look the labels up in a run, reference captions included.

    Captions belong together if they are near-copies, or if the labels put them in one group.
    Raises UserError where captions of a kind, memorized or not, are missing.
    """
    ids = _ids(tables, labels)
    verdict: dict[str, bool] = {}
    group: dict[str, str | None] = {}
    contradicted = set()
    for name, memorized, together in zip(
        labels.names, labels.memorized, labels.groups, strict=True
    ):
        for one in ids.get(name, ()):
            if verdict.setdefault(one, memorized) != memorized:
                contradicted.add(one)
            group[one] = group.get(one) or together
    table = tables.query(
        "SELECT scores.*, captions.caption, captions.n_samples, captions.is_reference "
        "FROM scores JOIN captions USING (caption_id) "
        "WHERE caption_id IN (SELECT unnest($ids)) ORDER BY caption_id",
        {"ids": [one for one in verdict if one not in contradicted]},
    )
    found = table["caption_id"].to_pylist()
    known = np.array([verdict[one] for one in found], bool)
    if not known.any() or known.all():
        raise UserError(_unusable(labels, known, len(contradicted)))
    scored = set(found) | contradicted
    unknown = sum(not scored.intersection(ids.get(name, ())) for name in labels.names)
    clusters = _together(
        near_duplicate_clusters(table.select(["caption_id", "caption"])).to_pylist(),
        [group[one] for one in found],
    )
    return Labelled(table, known, clusters, unknown, len(contradicted))


def _unusable(labels: Labels, known: Bools, contradicted: int) -> str:
    """Why nothing can be learnt of these labels. ``known``: of the captions that are left."""
    said = f"{len(labels.names):,} labels by {labels.by}"
    both = f"left out, since the labels say both of a caption: {contradicted:,}"
    if len(known):
        left = "memorized" if known.all() else "not memorized"
        why = f"all that can be used ({len(known):,}) are {left}; some of each are needed"
        return f"{said}: {why}{'; ' + both if contradicted else ''}"
    if contradicted:
        return f"{said}: none can be used: {both}"
    return f"{said}: none of them names a caption that this run has scored"


def _ids(tables: RunTables, labels: Labels) -> dict[str, set[str]]:
    """The caption ids that each name stands for; a key can stand for several."""
    if labels.by == "caption_id":
        return {name: {name} for name in labels.names}
    if labels.by == "key":
        keys = {name: _WHOLE.sub(r"\1", name) for name in labels.names}
        rows = tables.query(_BY_KEY, {"keys": list(keys.values()), "whole": _WHOLE.pattern})
        by_key: dict[str, set[str]] = {}
        for key, one in zip(rows["key"].to_pylist(), rows["caption_id"].to_pylist(), strict=True):
            by_key.setdefault(key, set()).add(one)
        return {name: by_key[key] for name, key in keys.items() if key in by_key}
    # The spelling that the run shows, or any that the model reads alike.
    rows = tables.query(
        "SELECT caption, caption_id FROM captions WHERE caption IN (SELECT unnest($names))",
        {"names": labels.names},
    )
    shown = dict(zip(rows["caption"].to_pylist(), rows["caption_id"].to_pylist(), strict=True))
    alike = caption_ids(map(_read_by_clip, labels.names)).to_pylist()
    return {name: {shown.get(name, one)} for name, one in zip(labels.names, alike, strict=True)}


def _read_by_clip(caption: str) -> str:
    """What CLIP's tokenizers make of a caption before they cut it into tokens."""
    return " ".join(unicodedata.normalize("NFC", caption).split()).lower()


def _together(near: list[str], groups: list[str | None]) -> NDArray[np.int64]:
    """Cluster numbers: rows are together that share a cluster of ``near`` or a group, or are so by
    way of others."""
    marks = [(row, f"near {one}") for row, one in enumerate(near)]
    marks += [(row, f"group {one}") for row, one in enumerate(groups) if one is not None]
    numbers = {mark: k + len(near) for k, mark in enumerate(dict.fromkeys(m for _, m in marks))}
    rows, others = [row for row, _ in marks], [numbers[mark] for _, mark in marks]
    size = len(near) + len(numbers)
    links = coo_array((np.ones(len(rows)), (rows, others)), shape=(size, size))
    return connected_components(links, directed=False)[1][: len(near)].astype(np.int64)
