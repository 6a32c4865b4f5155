"""How much of the training set is likely memorized, and how sure that is."""

from dataclasses import dataclass

from scanner.query import RunTables

Z = 1.96


@dataclass(frozen=True)
class Likely:
    """``captions`` of ``of``, with a 95 % interval, and ``samples``, how many rows they have.

    The sum of the calibrated probabilities; the interval takes them to be right and the captions to
    be independent. None without a calibration.
    """

    captions: float | None
    low: float | None
    high: float | None
    samples: float | None
    of: int


def likely(tables: RunTables) -> Likely:
    """The expected number of memorized captions among the ranked ones."""
    row = tables.query(
        "SELECT count(*) AS n, sum(probability) AS expected, "
        "sum(probability * n_samples) AS samples, "
        "sqrt(sum(probability * (1 - probability))) AS deviation FROM ranked"
    ).to_pylist()[0]
    if row["expected"] is None:
        return Likely(None, None, None, None, row["n"])
    spread = Z * row["deviation"]
    return Likely(
        captions=row["expected"],
        low=max(0.0, row["expected"] - spread),
        high=row["expected"] + spread,
        samples=row["samples"],
        of=row["n"],
    )
