"""Estimate how much of the training set is memorized from calibrated probabilities."""

from dataclasses import dataclass

from scanner.query import RunTables

Z = 1.96


@dataclass(frozen=True)
class ExpectedMemorized:
    """Expected number of memorized ``captions`` among ``scored`` ones with a 95 % interval, and of
    their ``samples``.

    The sum of the calibrated probabilities; the interval assumes that these are exact and the
    captions independent. None without a calibration.
    """

    captions: float | None
    low: float | None
    high: float | None
    samples: float | None
    scored: int


def expected_memorized(tables: RunTables) -> ExpectedMemorized:
    """Sum the probabilities of the ranked captions."""
    row = tables.query(
        "SELECT count(*) AS n, sum(probability) AS expected, "
        "sum(probability * n_samples) AS samples, "
        "sqrt(sum(probability * (1 - probability))) AS deviation FROM ranked"
    ).to_pylist()[0]
    if row["expected"] is None:
        return ExpectedMemorized(None, None, None, None, row["n"])
    spread = Z * row["deviation"]
    return ExpectedMemorized(
        captions=row["expected"],
        low=max(0.0, row["expected"] - spread),
        high=row["expected"] + spread,
        samples=row["samples"],
        scored=row["n"],
    )
