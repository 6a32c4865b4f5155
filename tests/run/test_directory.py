from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from scanner.errors import UserError
from scanner.run import Plan, Run, Slice
from scanner.storage import Store

SLICES = (Slice("000000", "captions/c.parquet", "0", "4", 2), Slice("000001", "c", "5", "9", 1))
PLAN = Plan(
    inputs=({"url": "a.csv"},),
    samples=("samples/s.parquet",),
    captions=("captions/c.parquet",),
    rejects=(),
    slices=SLICES,
    counts={"rows": 3, "samples": 3, "rejects": 0, "rejected_files": 0, "captions": 3},
    columns={},
)
RECORD = {"inputs": {"limit": None}, "fingerprint": {"id": "f", "seeds": 1}}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(Store(str(tmp_path / "run")))
    run.begin(RECORD)
    return run


def _scores(rows: int, value: float = 1.0) -> dict[str, pa.Table]:
    return {"scores": pa.table({"caption_id": ["x"] * rows, "entropy_e": [value] * rows})}


def test_beginning_again_with_the_same_settings_is_fine_and_with_others_names_them(
    run: Run,
) -> None:
    run.begin(RECORD)
    other = {**RECORD, "fingerprint": {"id": "g", "seeds": 4}}
    with pytest.raises(UserError, match=r"seeds \(1 there, 4 here\)"):
        run.begin(other)


def test_the_first_plan_holds_for_every_driver(run: Run) -> None:
    assert run.adopt(PLAN) == PLAN
    late = replace(PLAN, samples=("samples/late.parquet",))
    assert run.adopt(late) == PLAN
    assert run.plan() == PLAN


def test_the_first_commit_of_a_slice_holds_and_readers_never_see_the_other_parts(
    run: Run,
) -> None:
    run.adopt(PLAN)
    first = run.commit("000000", "f", _scores(2, 1.0), 0.0)
    second = run.commit("000000", "f", _scores(2, 2.0), 0.0)
    assert second == first
    run.commit("000001", "f", _scores(1), 0.0)
    manifest = run.seal()
    assert [part["path"] for part in manifest["scores"]] == [
        first.parts[0].path,
        run.commits()[1].parts[0].path,
    ]
    assert len(run.store.names("scores")) == 3  # the loser's part is there, and unread


def test_a_later_generation_replaces_an_earlier_one(run: Run) -> None:
    run.adopt(PLAN)
    run.commit("000000", "f", _scores(2), 0.0)
    better = replace(run.commits()[0], generation=1, attempt="repair")
    run.store.create(better.name, better.to_json())
    assert run.commits() == [better]


def test_the_manifest_says_what_is_missing_and_a_second_one_gets_the_next_number(
    run: Run,
) -> None:
    run.adopt(PLAN)
    run.commit("000000", "f", _scores(2), 0.0)
    assert run.seal()["counts"]["quarantined"] == 1
    assert not run.is_finished()
    run.commit("000001", "f", _scores(1), 0.0)
    counts = run.seal()["counts"]
    assert run.is_finished()
    assert counts["scored"] + counts["scan_rejects"] + counts["quarantined"] == counts["captions"]
    assert run.store.exists("manifest-0002.json")


def test_a_commit_of_other_settings_or_of_too_few_rows_is_refused(run: Run) -> None:
    run.adopt(PLAN)
    run.commit("000001", "another", _scores(1), 0.0)
    with pytest.raises(UserError, match="other settings"):
        run.seal()


def test_a_commit_that_lost_rows_is_refused(run: Run) -> None:
    run.adopt(PLAN)
    run.commit("000000", "f", _scores(1), 0.0)
    with pytest.raises(UserError, match="does not fit the plan"):
        run.seal()


def test_a_place_without_a_run_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        Run.existing(str(tmp_path))
