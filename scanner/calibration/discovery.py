"""The list that a wanted false discovery rate lets through, of a whole run, and its promise kept.

Which captions are exchangeable with the null set? Only captions that are not memorized for the
same reason: never trained on, of the same source. A caption that was trained on and yet is not
memorized may score higher (the list is then wronger than promised) or lower (shorter than it might
be); where labels say which ones those are, :func:`check` counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from scanner.calibration.features import way
from scanner.calibration.nulls import (
    Bulk,
    Conformal,
    Levels,
    Listed,
    Null,
    count_levels,
    list_discoveries,
)
from scanner.calibration.separation import SEED, Bools, Floats
from scanner.query import RunTables, Threshold

ROWS = 1 << 18
SAMPLE = 1_000_000
SPLITS = (20, 500)  # fewer where there are so many captions that each tells more
WORK = 5_000_000
HEX = 16**8

Kind = Literal["reference", "bulk"]


@dataclass(frozen=True)
class Discovery:
    """The list of a run: by which signal, from which null of how many captions."""

    signal: str
    kind: Kind
    null_captions: int
    listed: Listed


@dataclass(frozen=True)
class Counted:
    """A kind of candidates, over the splits: the share of them that is not memorized, which the
    promise is multiplied by (Benjamini–Hochberg's rate is q · m₀ / m); the false discovery rate
    found; the mean length of the list; the share of memorized captions on it; how often it was
    empty, its rate then counting as 0."""

    others: float
    found: float
    length: float
    caught: float
    empty: float


@dataclass(frozen=True)
class Promise:
    """Over random halves of the reference captions, one the null and the other among the
    candidates: the false discovery rate that was promised, and what the labels found.

    ``exchangeable``: the candidates are the memorized captions and that other half; ``all``: the
    trained captions that are not memorized too, which nothing makes exchangeable.
    """

    promised: float
    splits: int
    exchangeable: Counted
    all: Counted


def discover(tables: RunTables, by: str | None, fdr: float, kind: Kind = "reference") -> Discovery:
    """The list of a run by a signal, by default its decision signal.

    ``kind``: the null are the run's reference captions, or the bulk of its own. Raises UserError.
    """
    null: Null
    signal = tables.decide(by)
    if kind == "reference":
        reference = tables.reference_decisions(by).to_numpy()
        null, size = Conformal(reference), len(reference)
    else:
        sample = _sample(tables)
        null, size = Bulk(sample), len(sample)
    return Discovery(signal, kind, size, list_discoveries(null, count_ranked(tables, null), fdr))


def count_ranked(tables: RunTables, null: Null) -> Levels:
    """How many of the run's decisions there are at each level of a null."""
    counts: Levels = np.zeros(len(null.p), np.int64)
    for batch in tables.batches("SELECT decision::DOUBLE AS decision FROM ranked", ROWS):
        counts += count_levels(null, batch.column(0).to_numpy())
    return counts


def list_threshold(found: Discovery, schema: pa.Schema) -> Threshold | None:
    """Where the list begins, in the signal's own values; None for an empty list."""
    if found.listed.threshold is None:
        return None
    sign = -1 if found.signal in schema.names and way(schema.field(found.signal)) < 0 else 1
    return Threshold(found.signal, sign * found.listed.threshold, sign > 0, found.listed.p)


def check(
    scores: Floats, memorized: Bools, reference: Bools, rates: Sequence[float]
) -> list[Promise]:
    """Count, on labelled captions, how far the null of the reference captions keeps its promise.

    Higher scores are more suspicious. Empty where there are fewer than two reference captions, or
    memorized ones among them.
    """
    fresh = np.flatnonzero(reference)
    if len(fresh) < 2 or memorized[fresh].any():
        return []
    splits = int(np.clip(WORK // len(scores), *SPLITS))
    random = np.random.default_rng(SEED)
    halves = [np.array_split(random.permutation(fresh), 2) for _ in range(splits)]
    positive, trained = np.flatnonzero(memorized), np.flatnonzero(~reference)
    promises = []
    for rate in rates:
        exchangeable, everything = (
            _count(scores, memorized, [(null, np.append(rest, own)) for null, rest in halves], rate)
            for own in (positive, trained)
        )
        promises.append(Promise(rate, splits, exchangeable, everything))
    return promises


def _count(
    scores: Floats, memorized: Bools, splits: list[tuple[Levels, Levels]], rate: float
) -> Counted:
    """Each split's list, of its null and candidates (row numbers), against the truth."""
    rows = []
    for null_rows, chosen in splits:
        null = Conformal(scores[null_rows])
        listed = list_discoveries(null, count_levels(null, scores[chosen]), rate)
        start = np.inf if listed.threshold is None else listed.threshold
        on_it = memorized[chosen][scores[chosen] >= start]
        false = 1 - on_it.mean() if len(on_it) else 0.0
        caught = on_it.sum() / memorized[chosen].sum()
        rows.append((false, len(on_it), caught, len(on_it) == 0))
    others = 1 - memorized[splits[0][1]].mean()
    return Counted(float(others), *map(float, np.mean(rows, axis=0)))


def _sample(tables: RunTables) -> Floats:
    """The decisions of about a million captions at most: those with the smallest ids, which are
    hashes and so have nothing to do with the scores."""
    count = tables.query("SELECT count(*) AS n FROM ranked")["n"][0].as_py()
    last = f"{min(HEX - 1, int(HEX * SAMPLE / max(count, 1))):08x}" + "f" * 24
    found = tables.query(
        "SELECT decision::DOUBLE AS decision FROM ranked WHERE caption_id <= $last", {"last": last}
    )
    return found["decision"].to_numpy()
