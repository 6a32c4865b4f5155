"""What the catalog says of each signal's direction, and what the page on signals says of it."""

import re
from pathlib import Path

from jobs.studies.signals import DIRECTION
from scanner.query.views import PREFERRED
from scanner.scoring.catalog import SIGNALS

PAGE = Path(__file__).parents[2] / "scanner/signals/README.md"
ROW = re.compile(r"^\| `(\w+)` \| (higher|lower) \| .* \| ([^|]*) \|$", re.MULTILINE)


def test_the_page_on_signals_states_every_direction_of_the_catalog() -> None:
    stated = {name: direction for name, direction, _ in ROW.findall(PAGE.read_text())}
    directed = {name: DIRECTION[one.memorized] for name, one in SIGNALS.items() if one.memorized}
    assert stated == directed


def test_a_direction_that_the_testbed_contradicts_is_described_as_such() -> None:
    judged = {name: judgement for name, _, judgement in ROW.findall(PAGE.read_text())}
    against = {name for name, judgement in judged.items() if "contradicts" in judgement}
    assert against == {"summary_mass"}
    description = (SIGNALS["summary_mass"].field.metadata or {})[b"description"].decode()
    assert "lower for what the testbed model has memorized" in description


def test_a_column_without_a_published_direction_claims_none() -> None:
    for name in ("token_mass", "token_gradient"):
        assert b"memorized" not in SIGNALS[name].documented_field.metadata


def test_the_default_ranking_prefers_signals_of_the_catalog() -> None:
    numbers = [name for name, one in SIGNALS.items() if "list" not in str(one.field.type)]
    assert set(PREFERRED) == set(numbers) - {"summary_mass"}
