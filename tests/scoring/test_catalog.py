"""Directions of signals: the catalog and the page on signals agree."""

import re
from pathlib import Path

from jobs.studies.signals.directions import DIRECTION
from scanner.query.views import PREFERRED
from scanner.scoring.catalog import SIGNALS

PAGE = Path(__file__).parents[2] / "scanner/signals/README.md"
ROW = re.compile(r"^\| `(\w+)` \| (higher|lower) \| .* \| ([^|]*) \|$", re.MULTILINE)


def test_the_signals_page_states_every_direction() -> None:
    stated = {name: direction for name, direction, _ in ROW.findall(PAGE.read_text())}
    directed = {name: DIRECTION[one.memorized] for name, one in SIGNALS.items() if one.memorized}
    missing = ", ".join(directed.keys() - stated.keys())
    assert not missing, f'scanner/signals/README.md, "Directions": add a row for {missing}'
    assert stated == directed


def test_directions_that_the_testbed_contradicts_are_described() -> None:
    judged = {name: judgement for name, _, judgement in ROW.findall(PAGE.read_text())}
    against = {name for name, judgement in judged.items() if "contradicts" in judgement}
    assert against == {"summary_mass"}
    description = (SIGNALS["summary_mass"].field.metadata or {})[b"description"].decode()
    assert "lower for what the testbed model has memorized" in description


def test_unpublished_directions_are_not_in_the_metadata() -> None:
    for name in ("token_mass", "token_gradient"):
        assert b"memorized" not in SIGNALS[name].documented_field.metadata


def test_the_default_ranking_prefers_signals_of_the_catalog() -> None:
    numbers = [name for name, one in SIGNALS.items() if "list" not in str(one.field.type)]
    missing = ", ".join(set(numbers) - {*PREFERRED, "summary_mass"})
    assert not missing, f"PREFERRED of scanner/query/views.py: add {missing}"
    assert set(PREFERRED) == set(numbers) - {"summary_mass"}
