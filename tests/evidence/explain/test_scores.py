"""Evidence of scores, without a model."""

import pyarrow as pa
import pytest

from scanner.evidence.explain.scores import SCORES, Score, count_evidence, make_scores

BAND = [float(number) for number in range(1, 11)]


def score(value: float, memorized: int) -> Score:
    return Score("a", "about a", value, BAND, memorized)


@pytest.mark.parametrize(
    ("value", "memorized", "points"),
    [(11.0, 1, 1), (11.0, -1, -1), (0.0, 1, -1), (0.0, -1, 1), (5.0, 1, 0), (11.0, 0, 0)],
)
def test_evidence_follows_from_side_and_direction(
    value: float, memorized: int, points: int
) -> None:
    assert score(value, memorized).points == points


def test_signals_in_the_other_direction_count_against() -> None:
    scores = [score(11, 1), score(0, -1), score(0, 1), score(11, -1), score(5, 1)]
    assert count_evidence(scores) == "2 of 5 signals suggest memorization, 2 suggest the opposite"


def test_a_signal_with_unknown_direction_is_counted_separately() -> None:
    one = score(11, 0)
    assert one.evidence == "outside the band, direction unknown"
    text = count_evidence([one, score(11, 1)])
    assert text.startswith("1 of 2 signals suggests memorization, 0 suggest the opposite")
    assert text.endswith("1 outside the band with unknown direction")


def test_without_held_out_captions_there_is_no_evidence() -> None:
    alone = Score("a", "about a", 1.0, [], 1)
    assert (alone.points, alone.evidence) == (0, "")


def test_directions_of_a_calibration_replace_published_ones() -> None:
    row = dict.fromkeys(SCORES, 11.0)
    others = pa.table(dict.fromkeys(SCORES, BAND))
    published = {one.name: one.points for one in make_scores(row, others)}
    assert (published["summary_mass"], published["bos_mass"]) == (1, -1)
    found = make_scores(row, others, {"summary_mass": -1, "entropy_e": 0})
    points = {one.name: one.points for one in found}
    assert points == published | {"summary_mass": -1, "entropy_e": 0}
