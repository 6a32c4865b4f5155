"""Fit the thresholds of verdicts to labeled captions, and measure their agreement with labels."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from scanner.errors import UserError
from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verdicts import distances, judge, pictures

FALSE_PARTS = 0.01
# Labels are noisy: some captions labeled as not copied generate another caption's image.
TAILS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
FOLDS = 5


def first_half(families: Sequence[str]) -> np.ndarray:
    """Return which rows are in the half to fit thresholds on, by hash of the family: captions of
    one image stay together, and the split is reproducible."""
    digests = [hashlib.sha256(family.encode()).digest() for family in families]
    return np.array([digest[0] % 2 == 0 for digest in digests], bool)


def cross_validate(
    measures: pa.Table, memorized: np.ndarray, families: Sequence[str]
) -> dict[float, float]:
    """Return per tail in ``TAILS`` the share of captions whose verdict agrees with the label, with
    thresholds fitted on other families (five folds, by hash).

    Seed-consistent captions count as memorized: the agreement threshold is meant for captions
    without a training image. Raises UserError if the training part of a fold has only one class.
    """
    digests = [hashlib.sha256(family.encode()).digest() for family in families]
    fold = np.array([digest[1] % FOLDS for digest in digests])
    correct = dict.fromkeys(TAILS, 0)
    for held_out in (fold == number for number in range(FOLDS)):
        training = [family for family, out in zip(families, held_out, strict=True) if not out]
        for tail in TAILS:
            rows = measures.filter(pa.array(~held_out))
            thresholds = fit(rows, memorized[~held_out], training, tail)
            table = judge(measures.filter(pa.array(held_out)), thresholds)
            verdict = np.array(table["verdict"].to_pylist())
            correct[tail] += int(((verdict != "none") == memorized[held_out]).sum())
    return {tail: count / len(measures) for tail, count in correct.items()}


def fit(
    measures: pa.Table, memorized: np.ndarray, families: Sequence[str], tail: float
) -> Thresholds:
    """Fit thresholds: halfway between the two classes if they separate after dropping ``tail`` of
    each, otherwise at the best balanced accuracy.

    Partial copies are not labeled: the part threshold lets at most ``FALSE_PARTS`` of captions
    pass that are not copies and whose seeds disagree. Captions of one family share one image.
    Raises UserError unless both classes have captions.
    """
    if memorized.all() or not memorized.any():
        raise UserError("thresholds need labels of both kinds, memorized and not memorized")
    agreement = between(_column(measures, "agreement"), memorized, tail)
    # None without training images of both classes.
    likeness = between(_column(measures, "likeness"), memorized, tail)
    default = Thresholds()
    agreement = default.agreement if agreement is None else agreement
    others = ~memorized & (_column(measures, "agreement") < agreement)
    part = float(np.quantile(_column(measures, "agreeing_share")[others], 1 - FALSE_PARTS))
    own = pictures(measures)[memorized]
    names = np.array(families)[memorized]
    pairs = np.triu_indices(len(own), 1)
    near = between(-distances(own, own)[pairs], names[pairs[0]] == names[pairs[1]], tail)
    return Thresholds(
        agreement=agreement,
        likeness=default.likeness if likeness is None else likeness,
        part=part,
        same_picture=default.same_picture if near is None else -near,
    )


def between(values: np.ndarray, positive: np.ndarray, tail: float) -> float | None:
    """Return the threshold between positive and other values; None if a class has no values."""
    known = ~np.isnan(values)
    values, positive = values[known], positive[known]
    if positive.all() or not positive.any():
        return None
    low = float(np.quantile(values[positive], tail))
    high = float(np.quantile(values[~positive], 1 - tail))
    if low > high:
        return (low + high) / 2
    ordered = np.unique(values)
    candidates = (ordered[1:] + ordered[:-1]) / 2
    missed = np.searchsorted(np.sort(values[positive]), candidates) / positive.sum()
    rejected = np.searchsorted(np.sort(values[~positive]), candidates) / (~positive).sum()
    best = np.flatnonzero(np.isclose(rejected - missed, (rejected - missed).max()))
    return float(candidates[best[len(best) // 2]])


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False).astype(float)
