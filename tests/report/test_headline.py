"""The headline of a report, for every state of a run."""

from scanner.query import Coverage
from scanner.report.expected import ExpectedMemorized
from scanner.report.headline import NullSelection, VerdictCounts, headline

NOTHING = VerdictCounts(0, 0, 0, 0)
EXPECTED = ExpectedMemorized(captions=125.0, low=117.0, high=133.0, samples=4802.0, scored=826)
UNKNOWN = ExpectedMemorized(None, None, None, None, 826)
WHOLE = Coverage(
    samples=9000, captions=826, planned=826, scored=826, rejected=0, limit=None, references=520
)
PART = Coverage(
    samples=9000, captions=826, planned=200, scored=200, rejected=0, limit=200, references=0
)


def lines_of(
    expected: ExpectedMemorized = UNKNOWN,
    verdicts: VerdictCounts = NOTHING,
    scanned: Coverage = WHOLE,
    null: NullSelection | None = None,
    doubtful: bool = False,
    rejects: int = 0,
) -> list[str]:
    statements = headline(expected, verdicts, scanned, null, doubtful, (rejects, 9000))
    return [f"{statement.number} {statement.text}".strip() for statement in statements]


def test_the_expected_number_is_stated_with_its_condition() -> None:
    (line,) = lines_of(EXPECTED)
    assert line.startswith("About 125 of 826 scored captions (15.1 %)")
    assert line.endswith("if the calibration's probabilities hold for this training set.")


def test_a_doubtful_calibration_gives_no_number() -> None:
    (line,) = lines_of(EXPECTED, doubtful=True)
    assert "is unknown: the labels of the calibration differ in style" in line
    assert "125" not in line


def test_without_a_calibration_the_number_is_unknown() -> None:
    assert lines_of() == [
        "The number of memorized captions among 826 scored captions is unknown: there is no "
        "calibration."
    ]


def test_a_selection_by_reference_captions_has_its_fdr() -> None:
    (line,) = lines_of(null=NullSelection("reference", 0.1, 60, 60))
    assert line.startswith(
        "60 of 826 scored captions are selected at a false discovery rate of 10 %"
    )
    assert "the reference captions (known not to be in the training set) are exchangeable" in line


def test_a_selection_without_a_guarantee_gives_no_number() -> None:
    bulk, other, empty = (
        NullSelection("bulk", 0.1, 60, 60),
        NullSelection("reference", 0.1, 60, 59),
        NullSelection("reference", 0.1, 0, 0),
    )
    for null in (bulk, other, empty):
        assert lines_of(null=null)[0].startswith("The number of memorized captions among 826")
    assert "an assumption" in lines_of(null=bulk)[0]


def test_compared_images_come_first() -> None:
    lines = lines_of(EXPECTED, VerdictCounts(40, 24, 20, 7))
    assert lines[0].startswith("20 of 24 captions whose generated images were compared")
    assert len(lines) == 2
    # Agreement between seeds without a training image says nothing about copies.
    assert lines_of(EXPECTED, VerdictCounts(40, 0, 0, 31)) == lines[1:]


def test_unscored_and_rejected_captions_are_in_the_headline() -> None:
    lines = lines_of(EXPECTED, scanned=PART, rejects=12)
    assert lines[1].startswith("Only 200 of 826 distinct captions")
    assert "scan --limit 200" in lines[1]
    assert lines[2] == "12 of 9,000 rows were rejected and are not counted."
