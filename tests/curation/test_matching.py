"""Rules match the captions that their predicates name."""

from pathlib import Path

import pytest

from scanner.curation.matching import Matching
from scanner.query import open_run
from tests.curation.runs import policy, rule
from tests.query.runs import make_run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "matched"),
    [
        ("rank_score >= -0.2", {"a"}),
        ("rank_value <= 0.2", {"a"}),
        ("rank_value >= 0.2", {"b"}),
        ("rank_signal = 'bos_mass'", {"a", "b"}),
    ],
)
def test_rank_score_is_higher_for_memorized_captions(
    tmp_path: Path, when: str, matched: set[str]
) -> None:
    """``a`` has the lower bos_mass, and lower means memorized."""
    rows = [
        {"caption_id": "a", "caption": "cat", "bos_mass": 0.125},
        {"caption_id": "b", "caption": "dog", "bos_mass": 0.875},
    ]
    tables = open_run(make_run(tmp_path / "run", rows))
    assert tables.rank_by("bos_mass") == "bos_mass"
    Matching(tables, policy(rule("low", when, "drop")))
    rows = tables.query("SELECT caption_id, score, rank_score FROM matched").to_pylist()
    assert {row["caption_id"] for row in rows} == matched
    assert all(row["rank_score"] == -row["score"] for row in rows)
