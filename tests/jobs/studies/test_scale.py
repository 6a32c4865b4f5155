import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.studies.scale import stages
from jobs.studies.scale.simulated import SimulatedStore, Size
from jobs.studies.scale.stages import simulate
from scanner.run.compaction import DEFAULT_SIZES, arrange

SIZE = Size(1_500_000, 1000, is_merged=True)


def test_simulated_groups_are_those_of_a_scan(tmp_path: Path) -> None:
    slices = tuple(SIZE.slices())
    assert sum(item.rows for item in slices) == SIZE.captions
    pending = arrange(slices, {item.id: 0 for item in slices}, {}, DEFAULT_SIZES).pending
    groups = [(f"{first}-{last}", rows) for first, last, _, rows in SIZE.groups()]
    assert groups == [(group.id, group.rows) for group in pending]


def test_listings_are_counted_by_the_thousand(tmp_path: Path) -> None:
    store = SimulatedStore(tmp_path, SIZE)
    assert len(store.names("commits")) == 1500
    assert store.requests == {"LIST": 12}, "two pages, and where ids may be that are not there"


@pytest.mark.slow
def test_every_stage_of_a_simulated_scan_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one stage runs in a process of its own, which loads the libraries again."""
    alone = stages._alone

    def mostly_here(stage: Callable[..., Any], *arguments: Any) -> Any:
        is_alone = stages._resume in arguments
        return alone(stage, *arguments) if is_alone else stage(*arguments)

    monkeypatch.setattr(stages, "_alone", mostly_here)
    table = "\n".join(simulate(200_000, 100))
    assert "| write the plan |" in table
    assert "1,000 slices left" in table
    assert re.search(r"status. at half .* 100,000 scored, sealed: false", table)
    assert re.search(r"check and seal .* 2 parts", table)
    assert re.search(r"status., sealed .* 200,000 scored, sealed: true", table)
    assert "first 2 of 2 parts with one row each" in table
