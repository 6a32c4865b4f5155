"""The default policy on the testbed, where it is known what the model has memorized.

Each caption is judged by a calibration that was fitted without it and its family: families are
split in two, and each half is curated by the calibration of the other.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.calibration import Labels, calibrate, match_labels
from scanner.curation import Summary, curate, read_policy
from scanner.query import open_run
from scanner.testbed import files, labels

pytestmark = pytest.mark.usefixtures("few_replicates")
Judged = dict[str, dict]


def halves() -> list[pa.Table]:
    """The labels in two halves, with as much of each group, no family in both."""
    rows = labels().to_pylist()
    random = np.random.default_rng(0)
    first = []
    for group in sorted({row["group"] for row in rows}):
        family = [f"family {row['family']}" if row["family"] is not None else row["caption"]
                  for row in rows]  # fmt: skip
        names = sorted({f for f, row in zip(family, rows, strict=True) if row["group"] == group})
        chosen = set(random.permutation(names)[: len(names) // 2])
        first += [r for f, r in zip(family, rows, strict=True) if f in chosen]
    taken = {row["caption"] for row in first}
    rest = [row for row in rows if row["caption"] not in taken]
    return [pa.Table.from_pylist(half, labels().schema) for half in (first, rest)]


def lost(run: str, out: Path) -> dict[str, int]:
    """How many samples of each caption a list removes."""
    listed = pq.read_table(out / "removal_list.parquet")
    caption = {
        row["caption_id"]: row["caption"]
        for row in open_run(run).query("SELECT caption_id, caption FROM captions").to_pylist()
    }
    found: dict[str, int] = {}
    for row in listed.to_pylist():
        if row["action"] in ("drop", "cap"):
            name = caption[row["caption_id"]]
            found[name] = found.get(name, 0) + 1
    return found


@pytest.fixture(scope="module")
def judged(
    testbed_run: str, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Judged, dict[str, int], Summary]]:
    """For each half: its trained captions, what each loses, and the summary."""
    found = []
    both = halves()
    for mine, other in (both, both[::-1]):
        plain = open_run(testbed_run)
        _, calibration = calibrate(plain, match_labels(plain, Labels.from_table(other)))
        out = tmp_path_factory.mktemp("curated")
        tables = open_run(testbed_run, calibration=calibration)
        summary = curate(testbed_run, tables, read_policy("default"), str(out), force=True)
        rows = {row["caption"]: row for row in mine.to_pylist() if row["group"] != "heldout"}
        found.append((rows, lost(testbed_run, out), summary))
    return found


def test_the_default_policy_removes_memorized_repeats(judged: list) -> None:
    repeats = removed = 0
    for rows, losses, _ in judged:
        for caption, row in rows.items():
            if row["memorized"]:
                repeats += row["rows"] - 1
                removed += min(losses.get(caption, 0), row["rows"] - 1)
    assert removed >= 0.9 * repeats


def test_the_labels_confirm_the_stated_false_discovery_rate(judged: list) -> None:
    stated = max(summary.expected_false_discovery_rate for *_, summary in judged)
    flagged = [
        rows[caption]["memorized"]
        for rows, losses, _ in judged
        for caption in losses
        if caption in rows
    ]
    assert len(flagged) > 100
    assert 1 - np.mean(flagged) <= stated <= 0.2


def test_repeated_but_not_memorized_captions_stay_within_the_fdr(
    judged: list,
) -> None:
    stated = min(summary.expected_false_discovery_rate for *_, summary in judged)
    repeated = [
        caption in losses
        for rows, losses, _ in judged
        for caption, row in rows.items()
        if row["group"] == "repeated"
    ]
    assert len(repeated) == 72
    assert np.mean(repeated) <= stated


@pytest.fixture(scope="module")
def unlabeled(testbed_run: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """The list by the default policy where there are no labels, and its summary."""
    out = tmp_path_factory.mktemp("unlabeled")
    return out, curate(testbed_run, open_run(testbed_run), read_policy("default"), str(out))


def test_held_out_captions_alone_give_a_list_at_the_target_fdr(
    testbed_run: str, unlabeled: tuple[Path, Summary]
) -> None:
    out, summary = unlabeled
    truth = dict(zip(*(labels()[n].to_pylist() for n in ("caption", "memorized")), strict=True))
    found = lost(testbed_run, out)
    assert summary.expected_by == "reference captions"
    assert summary.expected_false_discovery_rate <= 0.1
    assert len(found) >= 10
    assert np.mean([not truth[caption] for caption in found]) <= 0.1


def test_the_list_names_rows_of_the_training_set(
    unlabeled: tuple[Path, Summary], demo: Path
) -> None:
    row = pq.read_table(unlabeled[0] / "removal_list.parquet").slice(0, 1).to_pylist()[0]
    there = pq.read_table(files.TRAIN).slice(row["row"], 1).to_pylist()[0]
    assert (row["source"], row["key"], row["url"]) == (
        str(demo / "demo/data/train.parquet"),
        there["key"],
        there["url"],
    )
