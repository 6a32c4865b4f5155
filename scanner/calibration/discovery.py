"""Benjamini–Hochberg selection on a whole run at a target FDR, with an empirical check.

The guarantee needs candidates that are not memorized to be exchangeable with the null captions.
That holds only for captions of the same source that were never trained on. If captions that were
trained on but are not memorized score higher, the realized FDR exceeds the target; if they score
lower, the selection is shorter than it could be. Where labels identify those captions,
:func:`check_fdr` measures the realized FDR.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from scanner.calibration.features import direction
from scanner.calibration.nulls import (
    Bulk,
    Conformal,
    Levels,
    Null,
    Selection,
    benjamini_hochberg,
    count_levels,
)
from scanner.calibration.statistics.bootstrap import SEED, Bools, Floats
from scanner.query import RunTables, SignalThreshold

ROWS = 1 << 18
SAMPLE = 1_000_000
SPLITS = (20, 500)  # fewer splits for more captions, each of which then says more
WORK = 5_000_000
HEX = 16**8

Kind = Literal["reference", "bulk"]


@dataclass(frozen=True)
class Discovery:
    """Captions selected in a run: by which signal, against which null of how many captions."""

    signal: str
    kind: Kind
    null_captions: int
    selection: Selection


@dataclass(frozen=True)
class FdrOutcome:
    """Means over the splits, for one set of candidates.

    ``null_share``: m₀ / m, the share of candidates that are not memorized; Benjamini–Hochberg
    attains an FDR of q · m₀ / m. ``fdr``: realized; an empty selection counts as 0. ``length``: of
    the selection; ``tpr``: share of memorized captions in it; ``empty_share``: share of splits with
    an empty selection.
    """

    null_share: float
    fdr: float
    length: float
    tpr: float
    empty_share: float


@dataclass(frozen=True)
class FdrCheck:
    """Realized FDR at a target, over random halves of the reference captions: one half is the null,
    the other joins the candidates.

    ``exchangeable``: the candidates are the memorized captions and the other half; ``all``: also
    the trained captions that are not memorized, for which exchangeability is not guaranteed.
    """

    target: float
    splits: int
    exchangeable: FdrOutcome
    all: FdrOutcome


def discover(tables: RunTables, by: str | None, fdr: float, kind: Kind = "reference") -> Discovery:
    """Select the captions of a run by a signal, by default its ranking signal.

    ``kind``: the null is the run's reference captions, or a normal distribution fitted to the bulk
    of the scores. Raises UserError.
    """
    null: Null
    signal = tables.rank_by(by)
    if kind == "reference":
        reference = tables.reference_rank_scores(by).to_numpy()
        null, size = Conformal(reference), len(reference)
    else:
        sample = _sample(tables)
        null, size = Bulk(sample), len(sample)
    selection = benjamini_hochberg(null, count_run_levels(tables, null), fdr)
    return Discovery(signal, kind, size, selection)


def count_run_levels(tables: RunTables, null: Null) -> Levels:
    """Count the run's captions at each level of a null."""
    counts: Levels = np.zeros(len(null.p), np.int64)
    for batch in tables.batches("SELECT rank_score::DOUBLE AS rank_score FROM ranked", ROWS):
        counts += count_levels(null, batch.column(0).to_numpy())
    return counts


def selection_threshold(discovery: Discovery, schema: pa.Schema) -> SignalThreshold | None:
    """Return the selection's threshold in the signal's original sign; None if it is empty."""
    signal, selection = discovery.signal, discovery.selection
    if selection.threshold is None:
        return None
    sign = -1 if signal in schema.names and direction(schema.field(signal)) < 0 else 1
    return SignalThreshold(signal, sign * selection.threshold, sign > 0, selection.p)


def check_fdr(
    scores: Floats, memorized: Bools, is_reference: Bools, targets: Sequence[float]
) -> list[FdrCheck]:
    """Measure the realized FDR on labeled captions, with reference captions as the null.

    Higher scores are more suspicious. Returns an empty list for fewer than two reference captions,
    or if any of them is labeled memorized.
    """
    references = np.flatnonzero(is_reference)
    if len(references) < 2 or memorized[references].any():
        return []
    splits = int(np.clip(WORK // len(scores), *SPLITS))
    random = np.random.default_rng(SEED)
    halves = [np.array_split(random.permutation(references), 2) for _ in range(splits)]
    positive, trained = np.flatnonzero(memorized), np.flatnonzero(~is_reference)
    checks = []
    for target in targets:
        exchangeable, everything = (
            _realize(
                scores,
                memorized,
                [(null, np.append(rest, candidates)) for null, rest in halves],
                target,
            )
            for candidates in (positive, trained)
        )
        checks.append(FdrCheck(target, splits, exchangeable, everything))
    return checks


def _realize(
    scores: Floats, memorized: Bools, splits: list[tuple[Levels, Levels]], target: float
) -> FdrOutcome:
    """Compare each split's selection, from row numbers of (null, candidates), with the labels."""
    rows = []
    for null_rows, candidates in splits:
        null = Conformal(scores[null_rows])
        selection = benjamini_hochberg(null, count_levels(null, scores[candidates]), target)
        threshold = np.inf if selection.threshold is None else selection.threshold
        selected = memorized[candidates][scores[candidates] >= threshold]
        fdr = 1 - selected.mean() if len(selected) else 0.0
        tpr = selected.sum() / memorized[candidates].sum()
        rows.append((fdr, len(selected), tpr, len(selected) == 0))
    null_share = 1 - memorized[splits[0][1]].mean()
    return FdrOutcome(float(null_share), *map(float, np.mean(rows, axis=0)))


def _sample(tables: RunTables) -> Floats:
    """Return rank_score of at most about a million captions, by the last digits of their ids,
    which are hashes: independent of the scores, and of which captions a scan began with."""
    count = tables.query("SELECT count(*) AS n FROM ranked")["n"][0].as_py()
    last = f"{min(HEX - 1, int(HEX * SAMPLE / max(count, 1))):08x}"
    sample = tables.query(
        "SELECT rank_score::DOUBLE AS rank_score FROM ranked WHERE substr(caption_id, 25) <= $last",
        {"last": last},
    )
    return sample["rank_score"].to_numpy()
