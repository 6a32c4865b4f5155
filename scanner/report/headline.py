"""The headline of a report: statements with the condition that each depends on.

If the calibration is doubtful or missing, the headline says that the number is unknown rather than
giving one with a caveat.
"""

from dataclasses import dataclass

from scanner.plurals import pluralize
from scanner.query import Coverage, RunTables
from scanner.report.expected import ExpectedMemorized

_VERIFIED = """
    SELECT count(*) AS verified,
           count(*) FILTER (n_references IS DISTINCT FROM 0) AS compared,
           count(*) FILTER (verdict IN ('verbatim', 'template')) AS copies,
           count(*) FILTER (verdict = 'seed-consistent') AS seed_consistent
    FROM verdicts"""
_BEYOND = """
    SELECT count(*) AS n FROM ranking JOIN thresholds ON signal = rank_signal
    WHERE if(higher, rank_value >= threshold, rank_value <= threshold)"""


@dataclass(frozen=True)
class VerdictCounts:
    """Number of captions: ``verified``; ``compared`` with a training image, ``copies``, and
    ``seed_consistent``."""

    verified: int
    compared: int
    copies: int
    seed_consistent: int


@dataclass(frozen=True)
class NullSelection:
    """A selection without labels, as recorded in a calibration: its null (``kind``: reference, or
    bulk, which is an assumption), target ``fdr`` and ``length``; ``beyond``: number of captions of
    this run beyond its threshold."""

    kind: str
    fdr: float
    length: int
    beyond: int


@dataclass(frozen=True)
class HeadlineSentence:
    """A sentence that starts with ``number``, which is empty if unknown."""

    number: str
    text: str


def count_verdicts(tables: RunTables) -> VerdictCounts:
    """Count the run's verdicts."""
    return VerdictCounts(**tables.query(_VERIFIED).to_pylist()[0])


def count_beyond_threshold(tables: RunTables) -> int:
    """Count ranked captions beyond the calibration's threshold of the ranking signal."""
    return int(tables.query(_BEYOND)["n"][0].as_py())


def headline(
    expected: ExpectedMemorized,
    verdicts: VerdictCounts,
    scanned: Coverage,
    null: NullSelection | None,
    doubtful: bool,
    rejected: tuple[int, int],
) -> tuple[HeadlineSentence, ...]:
    """Return the statements, strongest evidence first: generated images, then probabilities.

    ``null``: of a calibration without labels; ``doubtful``: the calibration's labels differ in
    style; ``rejected``: (rejected rows, all rows).
    """
    statements = [_by_generation(verdicts)] if verdicts.compared else []
    statements.append(_by_scores(expected, null, doubtful))
    if scanned.unscored:
        statements.append(
            HeadlineSentence(
                "",
                f"Only {scanned.scored:,} of {pluralize(scanned.captions, 'distinct caption')} of "
                f"the training set were scored ({'; '.join(scanned.unscored)}); this report does "
                "not cover the others.",
            )
        )
    rejects, rows = rejected
    if rejects:
        statements.append(
            HeadlineSentence(
                "", f"{rejects:,} of {pluralize(rows, 'row')} were rejected and are not counted."
            )
        )
    return tuple(statements)


def _by_generation(verdicts: VerdictCounts) -> HeadlineSentence:
    are = "is a copy" if verdicts.copies == 1 else "are copies"
    return HeadlineSentence(
        f"{verdicts.copies:,}",
        f"of {pluralize(verdicts.compared, 'caption')} whose generated images were compared with "
        f"their training images {are}.",
    )


def _by_scores(
    expected: ExpectedMemorized, null: NullSelection | None, doubtful: bool
) -> HeadlineSentence:
    scored = pluralize(expected.scored, "scored caption")
    unknown = f"The number of memorized captions among {scored} is unknown"
    if expected.captions is not None and expected.samples is not None:
        if doubtful:
            return HeadlineSentence(
                "", f"{unknown}: the labels of the calibration differ in style."
            )
        share = 100 * expected.captions / max(expected.scored, 1)
        return HeadlineSentence(
            f"About {expected.captions:,.0f}",
            f"of {scored} ({share:.1f} %), with about {expected.samples:,.0f} samples, are "
            "expected to be memorized, if the calibration's probabilities hold for this training "
            "set.",
        )
    if null and null.kind == "reference" and null.length and null.beyond == null.length:
        return HeadlineSentence(
            f"{null.beyond:,}",
            f"of {scored} are selected at a false discovery rate of {100 * null.fdr:.0f} %: on "
            "average, at most that share of them is not memorized, if the reference captions "
            "(known not to be in the training set) are exchangeable with captions that are not "
            "memorized.",
        )
    return HeadlineSentence("", f"{unknown}: {_unknown_because(null)}.")


def _unknown_because(null: NullSelection | None) -> str:
    if null is None:
        return "there is no calibration"
    if null.kind != "reference":
        return "the calibration's null is fitted to the run's own scores, which is an assumption"
    if not null.length:
        return "no caption can be selected at the calibration's false discovery rate"
    return "the calibration was made on other captions"
