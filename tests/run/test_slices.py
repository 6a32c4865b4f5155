import json
from typing import Any

import pytest

from scanner.run import Plan
from scanner.run.records import DamagedFile, encode
from tests.run.planned import plan_of, slices_of

PLAN = plan_of(slices_of(5, per_file=2))


def test_a_plan_is_read_as_it_was_written() -> None:
    assert Plan.from_json("plan.json", PLAN.to_json()) == PLAN
    assert len(PLAN.to_json().splitlines()) < 12


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ["000000"]),
        ("file", [9] * 5),
        ("file", [-1] * 5),
        ("rows", ["4"] * 5),
        ("id", ["a/b"] * 5),
        ("files", ["../x"] * 3),
        ("more", []),
    ],
)
def test_columns_that_do_not_fit_are_refused(field: str, value: Any) -> None:
    record = json.loads(PLAN.to_json())
    record["generations"][0]["slices"][field] = value
    with pytest.raises(DamagedFile, match="slices"):
        Plan.from_json("plan.json", encode(record))
