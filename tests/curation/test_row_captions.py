"""Several captions per row: each is a sample, and a row is removed or kept as a whole."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.console.options import parse
from scanner.curation import Summary, curate
from scanner.curation.copies.copying import apply
from scanner.errors import UsageError
from scanner.query import open_run
from scanner.run import Run
from scanner.scan.config import ScanConfig
from tests.curation.runs import LOUD, loudness, make_run, policy, rule

# Alt text, recaption.
ROWS = [
    ("loud a", "quiet 0"),
    ("loud a", "quiet 1"),
    ("quiet 2", "loud b"),
    ("quiet 3", None),
    (None, "loud c"),
    ("loud a", "mine"),
    ("quiet 4", "quiet 4"),
]
COLUMNS = ("alt", "recaption")
Listed = dict[tuple[int, str], tuple[str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("captions")
    lines = [
        json.dumps({"id": k, "alt": alt, "recaption": again, "width": 5})
        for k, (alt, again) in enumerate(ROWS)
    ]
    (folder / "data").mkdir()
    (folder / "data" / "a.jsonl").write_text("\n".join([*lines, "no json"]) + "\n")
    return make_run(
        folder / "run", loudness, captions=(str(folder / "data"),), caption_column=COLUMNS
    )


def listed(run: str, out: Path, *rules: dict) -> tuple[Listed, Summary]:
    summary = curate(run, open_run(run), policy(*rules), str(out), force=True)
    rows = pq.read_table(out / "removal_list.parquet").to_pylist()
    found = {
        (row["row"], row["caption_column"]): (row["action"], ";".join(row["reasons"]))
        for row in rows
    }
    assert len(found) == len(rows)
    return found, summary


def test_each_caption_of_a_row_is_a_sample_with_its_column(run: str) -> None:
    samples = open_run(run).query(
        'FROM samples JOIN captions USING (caption_id) ORDER BY "row", caption_column'
    )
    assert [(row["row"], row["caption_column"], row["caption"]) for row in samples.to_pylist()] == [
        (number, column, caption)
        for number, captions in enumerate(ROWS)
        for column, caption in zip(COLUMNS, captions, strict=True)
        if caption
    ]
    plan = Run.existing(run).plan()
    assert plan
    counts = plan.counts
    assert (counts["rows"], counts["pairs"]) == (8, 16)
    assert counts["pairs"] == counts["samples"] + counts["rejects"] == 12 + 4
    reasons = open_run(run).query("SELECT reason FROM rejects ORDER BY reason")["reason"]
    assert reasons.to_pylist() == [
        *["bad row: not JSON"] * 2, "null caption: column alt", "null caption: column recaption"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_row_is_removed_with_all_its_captions(run: str, tmp_path: Path) -> None:
    found, summary = listed(run, tmp_path / "o", rule("loud", LOUD, "drop"))
    loud, same = ("drop", "loud"), ("drop", "loud;same-image")
    assert found == {
        (0, "alt"): loud, (0, "recaption"): same,
        (1, "alt"): loud, (1, "recaption"): same,
        (2, "alt"): same, (2, "recaption"): loud,
        (4, "recaption"): loud,
        (5, "alt"): loud, (5, "recaption"): same,
    }  # fmt: skip
    assert summary.actions["drop"] == 9
    assert summary.by_rule["loud"].alone["drop"] == 9
    assert summary.captions_removed == 3
    copied = apply(run, str(tmp_path / "o"), str(tmp_path / "copies"))
    assert (copied.removed, copied.kept) == (5, 3)
    lines = (tmp_path / "copies" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines[:2]] == [3, 6]


@pytest.mark.slow
def test_a_cap_counts_rows_and_a_protected_caption_its_row(run: str, tmp_path: Path) -> None:
    mine = rule("mine", "caption = 'mine'", "keep")
    found, _ = listed(run, tmp_path / "o", mine, rule("loud", LOUD, "cap", keep=1))
    assert not [row for row, _ in found if row in (3, 5, 6)]
    actions = {row: {found[each][0] for each in found if each[0] == row} for row in (0, 1, 2, 4)}
    assert sorted(map(sorted, (actions[0], actions[1]))) == [["cap"], ["keep"]]
    assert actions[2] == actions[4] == {"keep"}


@pytest.mark.slow
def test_rows_rejected_for_one_caption_stay(run: str, tmp_path: Path) -> None:
    given = policy(rule("loud", LOUD, "keep"), rejects="drop")
    curate(run, open_run(run), given, str(tmp_path), force=True)
    dropped = pq.read_table(tmp_path / "removal_list.parquet").to_pylist()
    assert [row["row"] for row in dropped if row["action"] == "drop"] == [7]


def test_columns_are_named_once_or_several_times() -> None:
    words = ["--captions", "a", "--out", "o"]
    one = parse(ScanConfig, "scan", "", [*words, "--caption-column", "alt"])
    several = ["--caption-column", "alt", "--caption-column", "recaption"]
    assert one.caption_column == ("alt",)
    assert parse(ScanConfig, "scan", "", [*words, *several]).caption_column == COLUMNS
    with pytest.raises(UsageError, match="named twice"):
        ScanConfig(captions=("a",), out="o", caption_column=("alt", "ALT")).check()
