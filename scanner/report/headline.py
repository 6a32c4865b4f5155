"""What a report begins with: only statements that hold, with what they rest on.

A number that a caveat would take back is not given: where the calibration is doubtful, or there is
none, the headline says that the number is not known.
"""

from dataclasses import dataclass

from scanner.curation.plurals import pluralize
from scanner.query import Coverage, RunTables
from scanner.report.likely import Likely

_VERIFIED = """
    SELECT count(*) AS verified,
           count(*) FILTER (n_references IS DISTINCT FROM 0) AS compared,
           count(*) FILTER (verdict IN ('verbatim', 'template')) AS copies,
           count(*) FILTER (verdict = 'seed-consistent') AS seed_consistent
    FROM verdicts"""
_LISTED = """
    SELECT count(*) AS n FROM decisions JOIN thresholds ON signal = decision_signal
    WHERE if(higher, decision_value >= threshold, decision_value <= threshold)"""


@dataclass(frozen=True)
class Verified:
    """Captions with a verdict: ``compared`` with a training image, ``copies`` and
    ``seed_consistent``."""

    verified: int
    compared: int
    copies: int
    seed_consistent: int


@dataclass(frozen=True)
class Null:
    """A list made without labels, as its calibration records it: ``fdr`` is its target, ``length``
    how many captions it had; ``here``: how many of this run are beyond its threshold.

    ``kind``: reference, or bulk, which is an assumption about the run's own captions.
    """

    kind: str
    fdr: float
    length: int
    here: int


@dataclass(frozen=True)
class Statement:
    """A sentence; ``number`` is what it begins with, empty where the number is not known."""

    number: str
    text: str


def verified(tables: RunTables) -> Verified:
    """Count the run's verdicts."""
    return Verified(**tables.query(_VERIFIED).to_pylist()[0])


def beyond_threshold(tables: RunTables) -> int:
    """How many ranked captions lie beyond the calibration's threshold of the decision signal."""
    return int(tables.query(_LISTED)["n"][0].as_py())


def headline(
    likely: Likely,
    judged: Verified,
    scanned: Coverage,
    null: Null | None,
    doubtful: bool,
    rejected: tuple[int, int],
) -> tuple[Statement, ...]:
    """The statements in the order of what they rest on: pictures first, then probabilities.

    ``doubtful``: the labels of the calibration differ in style; ``null``: of a calibration that was
    made without labels; ``rejected``: so many of so many rows.
    """
    made = [_by_pictures(judged)] if judged.compared else []
    made.append(_by_scores(likely, null, doubtful))
    if scanned.unscored:
        made.append(
            Statement(
                "",
                f"Only {scanned.scored:,} of {pluralize(scanned.captions, 'distinct caption')} of "
                f"the training set were scored ({'; '.join(scanned.unscored)}): nothing is said of "
                "the others.",
            )
        )
    rejects, rows = rejected
    if rejects:
        made.append(
            Statement(
                "", f"{rejects:,} of {pluralize(rows, 'row')} were rejected: they are in no count."
            )
        )
    return tuple(made)


def _by_pictures(judged: Verified) -> Statement:
    return Statement(
        f"{judged.copies:,}",
        f"of {pluralize(judged.compared, 'caption')} whose pictures were compared with their "
        f"training images {'comes' if judged.copies == 1 else 'come'} out as copies.",
    )


def _by_scores(likely: Likely, null: Null | None, doubtful: bool) -> Statement:
    scored = pluralize(likely.of, "scored caption")
    unknown = f"How many of {scored} are memorized is not known"
    if likely.captions is not None and likely.samples is not None:
        if doubtful:
            return Statement("", f"{unknown}: the labels of the calibration differ in style.")
        return Statement(
            f"About {likely.captions:,.0f}",
            f"of {scored} ({100 * likely.captions / max(likely.of, 1):.1f} %), which about "
            f"{likely.samples:,.0f} samples have, are expected to be memorized, if the "
            "probabilities of the calibration hold for this training set.",
        )
    if null and null.kind == "reference" and null.length and null.here == null.length:
        return Statement(
            f"{null.here:,}",
            f"of {scored} are on a list of which, on average, at most {100 * null.fdr:.0f} % are "
            "not memorized, if the reference captions are exchangeable with captions that are not.",
        )
    return Statement("", f"{unknown}: {_missing(null)}.")


def _missing(null: Null | None) -> str:
    if null is None:
        return "there is no calibration"
    if null.kind != "reference":
        return "the calibration compares captions with the bulk of their own, an assumption"
    if not null.length:
        return "the reference captions support no list at the calibration's false discovery rate"
    return "the list of the calibration was made of other captions than these"
