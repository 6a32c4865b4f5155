"""Thresholds of verdicts from labelled captions, and how well verdicts agree with labels."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from scanner.errors import UserError
from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verdicts import distances, judge, pictures

FALSE_PARTS = 0.01
# Some captions that are no copies of their own image draw another's: labels are not clean.
TAILS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
FOLDS = 5


def first_half(families: Sequence[str]) -> np.ndarray:
    """Which rows belong to the half that thresholds are fitted on: by the family's hash, so that
    captions of one picture stay together and the halves are the same everywhere."""
    digests = [hashlib.sha256(family.encode()).digest() for family in families]
    return np.array([digest[0] % 2 == 0 for digest in digests], bool)


def cross_validate(
    measures: pa.Table, memorized: np.ndarray, families: Sequence[str]
) -> dict[float, float]:
    """For each of ``TAILS``, the share of captions whose verdict agrees with the label by
    thresholds that were fitted without them: families in five folds, by their hash.

    Seed-consistent captions count as memorized: the threshold of agreement is for captions whose
    training image cannot be had. Raises UserError where the others of a fold are of one kind only.
    """
    digests = [hashlib.sha256(family.encode()).digest() for family in families]
    fold = np.array([digest[1] % FOLDS for digest in digests])
    right = dict.fromkeys(TAILS, 0)
    for held in (fold == number for number in range(FOLDS)):
        own = [family for family, out in zip(families, held, strict=True) if not out]
        for tail in TAILS:
            thresholds = fit(measures.filter(pa.array(~held)), memorized[~held], own, tail)
            verdict = judge(measures.filter(pa.array(held)), thresholds)["verdict"].to_pylist()
            right[tail] += int(((np.array(verdict) != "none") == memorized[held]).sum())
    return {tail: count / len(measures) for tail, count in right.items()}


def fit(
    measures: pa.Table, memorized: np.ndarray, families: Sequence[str], tail: float
) -> Thresholds:
    """Thresholds halfway between copies and others where they are apart but for ``tail`` of each,
    else where the balanced accuracy is best.

    Copies of a part are not labelled: at most ``FALSE_PARTS`` of what is no copy, and whose seeds
    disagree, passes for one. Captions of one family draw one picture. Raises UserError where a
    kind is missing.
    """
    if memorized.all() or not memorized.any():
        raise UserError("thresholds need captions of both kinds, memorized and not")
    agreement = _between(_column(measures, "agreement"), memorized, tail)
    # Without training images, or with those of one kind only, there is nothing to fit.
    likeness = _between(_column(measures, "likeness"), memorized, tail)
    default = Thresholds()
    agreement = default.agreement if agreement is None else agreement
    others = ~memorized & (_column(measures, "agreement") < agreement)
    part = float(np.quantile(_column(measures, "agreeing_share")[others], 1 - FALSE_PARTS))
    own = pictures(measures)[memorized]
    names = np.array(families)[memorized]
    pairs = np.triu_indices(len(own), 1)
    near = _between(-distances(own, own)[pairs], names[pairs[0]] == names[pairs[1]], tail)
    return Thresholds(
        agreement=agreement,
        likeness=default.likeness if likeness is None else likeness,
        part=part,
        same_picture=default.same_picture if near is None else -near,
    )


def _between(values: np.ndarray, positive: np.ndarray, tail: float) -> float | None:
    """Where positive values begin, or None where one kind has no values."""
    known = ~np.isnan(values)
    values, positive = values[known], positive[known]
    if positive.all() or not positive.any():
        return None
    low = float(np.quantile(values[positive], tail))
    high = float(np.quantile(values[~positive], 1 - tail))
    if low > high:
        return (low + high) / 2
    ordered = np.unique(values)
    places = (ordered[1:] + ordered[:-1]) / 2
    hit = np.searchsorted(np.sort(values[positive]), places) / positive.sum()
    kept = np.searchsorted(np.sort(values[~positive]), places) / (~positive).sum()
    best = np.flatnonzero(np.isclose(kept - hit, (kept - hit).max()))
    return float(places[best[len(best) // 2]])


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False).astype(float)
