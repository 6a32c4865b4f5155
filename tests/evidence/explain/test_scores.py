"""Which way a score points, without a model."""

import pyarrow as pa
import pytest

from scanner.evidence.explain.scores import SCORES, Score, count_evidence, scores_of

BAND = [float(number) for number in range(1, 11)]


def score(value: float, memorized: int) -> Score:
    return Score("a", "about a", value, BAND, memorized)


@pytest.mark.parametrize(
    ("value", "memorized", "points"),
    [(11.0, 1, 1), (11.0, -1, -1), (0.0, 1, -1), (0.0, -1, 1), (5.0, 1, 0), (11.0, 0, 0)],
)
def test_a_score_points_by_its_side_and_its_direction(
    value: float, memorized: int, points: int
) -> None:
    assert score(value, memorized).points == points


def test_signals_outside_the_band_the_wrong_way_point_away() -> None:
    scores = [score(11, 1), score(0, -1), score(0, 1), score(11, -1), score(5, 1)]
    assert count_evidence(scores) == "2 of 5 signals point to memorization, 2 point away"


def test_a_signal_without_a_direction_is_counted_apart() -> None:
    one = score(11, 0)
    assert one.evidence == "outside the band, direction unknown"
    said = count_evidence([one, score(11, 1)])
    assert said.startswith("1 of 2 signals points to memorization, 0 point away")
    assert said.endswith("1 outside the band without a known direction")


def test_without_held_out_captions_nothing_points() -> None:
    alone = Score("a", "about a", 1.0, [], 1)
    assert (alone.points, alone.evidence) == (0, "")


def test_a_calibrations_directions_replace_the_published_ones() -> None:
    row = dict.fromkeys(SCORES, 11.0)
    others = pa.table(dict.fromkeys(SCORES, BAND))
    published = {one.name: one.points for one in scores_of(row, others)}
    assert (published["summary_mass"], published["bos_mass"]) == (1, -1)
    found = scores_of(row, others, {"summary_mass": -1, "entropy_e": 0})
    points = {one.name: one.points for one in found}
    assert points == published | {"summary_mass": -1, "entropy_e": 0}
