"""Whole scans as a user starts them, and what must hold of a sealed run whatever happened."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scanner.run import Run
from tests.memscan import called

WORDS = (
    *("red", "blue", "old", "new", "small", "large", "cat", "dog", "house", "tree", "river"),
    *("boat", "on", "under", "near", "with"),
)
SCAN = ("scan", "--model", "testbed", "--device", "cpu")
Scores = dict[str, dict]


def make_captions(distinct: int) -> list[str]:
    choose = random.Random(0)
    return [f"{' '.join(choose.choices(WORDS, k=6))} {i}" for i in range(distinct)]


def write_captions(path: Path, rows: int, distinct: int) -> None:
    captions = make_captions(distinct)
    path.write_text("caption\n" + "".join(f"{captions[i % distinct]}\n" for i in range(rows)))


def scores(run: str) -> Scores:
    """The scores of a sealed run by caption id; no id twice, and the sums of the protocol hold."""
    opened = Run.existing(run)
    manifest = opened.manifest()
    assert manifest is not None
    rows = []
    for part in manifest["scores"]:
        with opened.store.open(part["path"]) as file:
            rows += pq.read_table(file).to_pylist()
    found = {row["caption_id"]: row for row in rows}
    assert len(found) == len(rows)
    counts = manifest["counts"]
    assert counts["rows"] == counts["samples"] + counts["rejects"]
    assert counts["captions"] == len(rows) + counts["scan_rejects"] + counts["quarantined"]
    return found


def assert_same(left: Scores, right: Scores) -> None:
    """The same captions with the same scores, up to rounding."""
    assert left.keys() == right.keys()
    for key, row in left.items():
        assert row.keys() == right[key].keys()
        for name, value in row.items():
            _assert_same_value(name, value, right[key][name])


def _assert_same_value(name: str, value: Any, other: Any) -> None:
    """Numbers up to rounding, trigger words by their texts, anything else exactly.

    Batches of other sizes move a mean over layers by 1e-6, and one layer by 2e-5.
    """
    if name == "triggers":
        value, other = ([word["text"] for word in words] for words in (value, other))
    numbers, rounding = (value, 1e-4) if isinstance(value, list) else ([value], 1e-5)
    if all(isinstance(number, float) for number in numbers):
        other = pytest.approx(other, abs=rounding, rel=rounding)
    assert value == other, name


def status(run: str) -> dict:
    return json.loads(called("status", run, "--json").stdout)


def assert_nothing_lost(
    run: str, undisturbed: Scores, without: frozenset[str] = frozenset()
) -> dict:
    """The run is sealed with the undisturbed run's table, and its status says so; the status.

    ``without``: caption ids that a fault of the input or the work has cost, as rejects.
    """
    found = scores(run)
    assert_same(found, {key: row for key, row in undisturbed.items() if key not in without})
    told = status(run)
    assert told["sealed"]
    assert told["slices"]["committed"] == told["slices"]["planned"]
    assert told["slices"]["quarantined"] == told["slices"]["running"] == 0
    assert told["scored"] == len(found)
    return told
