"""What a report begins with, in every state of a run."""

from scanner.query import Coverage
from scanner.report.headline import Null, Verified, headline
from scanner.report.likely import Likely

NOTHING = Verified(0, 0, 0, 0)
EXPECTED = Likely(captions=125.0, low=117.0, high=133.0, samples=4802.0, of=826)
UNKNOWN = Likely(None, None, None, None, 826)
WHOLE = Coverage(
    samples=9000, captions=826, planned=826, scored=826, rejected=0, limit=None, references=520
)
PART = Coverage(
    samples=9000, captions=826, planned=200, scored=200, rejected=0, limit=200, references=0
)


def said(
    likely: Likely = UNKNOWN,
    verified: Verified = NOTHING,
    scanned: Coverage = WHOLE,
    null: Null | None = None,
    doubtful: bool = False,
    rejects: int = 0,
) -> list[str]:
    found = headline(likely, verified, scanned, null, doubtful, (rejects, 9000))
    return [f"{one.number} {one.text}".strip() for one in found]


def test_an_expected_number_comes_with_its_condition() -> None:
    (line,) = said(EXPECTED)
    assert line.startswith("About 125 of 826 scored captions (15.1 %)")
    assert line.endswith("if the probabilities of the calibration hold for this training set.")


def test_a_doubtful_calibration_gives_no_number() -> None:
    (line,) = said(EXPECTED, doubtful=True)
    assert "is not known: the labels of the calibration differ in style" in line
    assert "125" not in line


def test_without_a_calibration_the_number_is_not_known() -> None:
    assert said() == [
        "How many of 826 scored captions are memorized is not known: there is no calibration."
    ]


def test_a_list_by_reference_captions_has_its_rate() -> None:
    (line,) = said(null=Null("reference", 0.1, 60, 60))
    assert line.startswith(
        "60 of 826 scored captions are on a list of which, on average, at most 10"
    )
    assert "if the reference captions are exchangeable" in line


def test_a_list_that_promises_nothing_here_is_no_number() -> None:
    bulk, other, empty = (
        Null("bulk", 0.1, 60, 60),
        Null("reference", 0.1, 60, 59),
        Null("reference", 0.1, 0, 0),
    )
    for null in (bulk, other, empty):
        assert said(null=null)[0].startswith("How many of 826 scored captions are memorized is not")
    assert "an assumption" in said(null=bulk)[0]


def test_pictures_that_were_compared_come_first() -> None:
    lines = said(EXPECTED, Verified(40, 24, 20, 7))
    assert lines[0].startswith("20 of 24 captions whose pictures were compared")
    assert len(lines) == 2
    # Seeds that agree without a training image are no statement about copies.
    assert said(EXPECTED, Verified(40, 0, 0, 31)) == lines[1:]


def test_what_was_not_scored_or_rejected_is_in_the_headline() -> None:
    lines = said(EXPECTED, scanned=PART, rejects=12)
    assert lines[1].startswith("Only 200 of 826 distinct captions")
    assert "scan --limit 200" in lines[1]
    assert lines[2] == "12 of 9,000 rows were rejected: they are in no count."
