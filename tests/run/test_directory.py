from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from scanner.errors import UserError
from scanner.run import Commit, Commits, Output, Plan, Run, Slice
from scanner.run.progress import Progress
from scanner.run.status import status
from scanner.run.verdicts import verdict_commits
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


def _commit(run: Run, name: str, rows: int, value: float = 1.0) -> Commit:
    table = pa.table({"caption_id": ["x"] * rows, "entropy_e": [value] * rows})
    return run.commits.commit(name, [Output("scores", table)])


def test_begin_names_the_options_that_differ(
    run: Run,
) -> None:
    run.begin(RECORD)
    other = {**RECORD, "fingerprint": {"id": "g", "seeds": 4}}
    with pytest.raises(UserError, match=r"seeds \(run: 1, given: 4\)"):
        run.begin(other)


def test_every_driver_adopts_the_first_plan(run: Run) -> None:
    assert run.adopt(PLAN) == PLAN
    late = replace(PLAN, samples=("samples/late.parquet",))
    assert run.adopt(late) == PLAN
    assert run.plan() == PLAN


def test_the_first_commit_of_a_slice_is_valid(
    run: Run,
) -> None:
    run.adopt(PLAN)
    first = _commit(run, "000000", 2, 1.0)
    second = _commit(run, "000000", 2, 2.0)
    assert second == first
    _commit(run, "000001", 1)
    manifest = run.seal()
    assert [part["path"] for part in manifest["scores"]] == [
        first.parts[0].path,
        run.commits.all()[1].parts[0].path,
    ]
    assert len(run.store.names("scores")) == 3  # the loser's part is there, and unread


def test_a_later_generation_replaces_an_earlier_one(run: Run) -> None:
    run.adopt(PLAN)
    _commit(run, "000000", 2)
    table = pa.table({"caption_id": ["x", "y"]})
    better = run.commits.commit("000000", [Output("scores", table)], generation=1)
    assert run.commits.all() == [better]
    assert better.generation == 1


def test_manifests_list_missing_slices_and_are_numbered(
    run: Run,
) -> None:
    run.adopt(PLAN)
    _commit(run, "000000", 2)
    unscanned = run.seal(is_whole=False)
    assert (unscanned["counts"]["not_scanned"], unscanned["quarantined"]) == (1, [])
    assert run.seal()["counts"]["quarantined"] == 1
    run.store.write("quarantine/000001.json", b"{}")
    failed = run.seal(is_whole=False)
    assert failed["counts"]["quarantined"] == 1
    assert failed["quarantined"] == [{"slice": "000001", "captions": 1}]
    assert failed["counts"]["not_scanned"] == 0
    assert not run.is_finished()
    _commit(run, "000001", 1)
    counts = run.seal()["counts"]
    assert run.is_finished()
    assert counts["scored"] + counts["scan_rejects"] + counts["quarantined"] == counts["captions"]
    assert run.store.exists("manifest-0004.json")


def test_a_stopped_driver_hides_nothing_of_another(run: Run) -> None:
    run.adopt(PLAN)
    _commit(run, "000000", 2)
    layout = run.layout(PLAN)
    _commit(run, "000001", 1)
    run.seal()
    assert run.is_finished()
    assert run.seal(layout, is_whole=False)["counts"]["not_scanned"] == 0
    assert run.is_finished()


def test_commits_with_other_settings_or_rows_are_refused(run: Run) -> None:
    run.adopt(PLAN)
    Commits(run.store, "commits", "another").commit(
        "000001", [Output("scores", pa.table({"caption_id": ["x"]}))]
    )
    with pytest.raises(UserError, match="other settings"):
        run.seal()


def test_a_commit_that_lost_rows_is_refused(run: Run) -> None:
    run.adopt(PLAN)
    _commit(run, "000000", 1)
    with pytest.raises(UserError, match="does not match the plan"):
        run.seal()


def test_a_driver_that_stops_leaves_nothing_running(run: Run) -> None:
    run.adopt(PLAN)
    state = Progress(2, 3, running={"000000": 1}, actors=2)
    state.save(run)
    assert status(run)["slices"]["running"] == 1
    state.stop(run)
    shown = status(run)
    assert (shown["slices"]["running"], shown["actors"], shown["eta_seconds"]) == (0, 0, None)


def test_captions_of_running_slices_are_counted_once(run: Run) -> None:
    run.adopt(PLAN)
    state = Progress(2, 3, running={"000000": 1, "000001": 1}, actors=2, started=1.0)
    state.save(run)
    assert status(run)["captions_running"] == 2
    assert state.captions_computed == 2
    _commit(run, "000000", 2)
    shown = status(run)
    assert (shown["scored"], shown["captions_running"]) == (2, 1)
    state.stop(run)
    assert status(run)["captions_running"] == 0


def test_a_different_configuration_is_named_by_flag(tmp_path: Path) -> None:
    run = Run(Store(str(tmp_path)))
    scoring = {"scoring": {"profile": "standard"}}
    kept = {"inputs": {}, "options": scoring, "fingerprint": {"signals": ["a", "b"]}}
    run.begin(kept)
    run.begin({**kept, "options": {"scoring": {"profile": None}}})  # with the same fingerprint
    other = {**kept, "fingerprint": {"signals": ["a"]}}
    with pytest.raises(UserError, match=r"differences: profile \(run: 'standard', given: 'triage'"):
        run.begin({**other, "options": {"scoring": {"profile": "triage"}}})
    with pytest.raises(UserError, match="differences: signals"):
        run.begin(other)


def test_abandon_removes_a_run_that_cannot_be_resumed(
    run: Run,
) -> None:
    run.store.write("planning/0000/inputs.json", b"{}")
    run.abandon()
    assert run.record()
    run.store.remove("planning/0000/inputs.json")
    run.abandon()
    assert run.record() is None
    run.begin(RECORD)
    run.adopt(PLAN)
    run.abandon()
    assert run.record()


def test_a_directory_without_a_run_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        Run.existing(str(tmp_path))


def test_extending_joins_plans_and_reopens_the_run(run: Run) -> None:
    run.adopt(PLAN)
    _commit(run, "000000", 2)
    _commit(run, "000001", 1)
    run.seal()
    assert run.is_finished()
    more = replace(
        PLAN, slices=(Slice("000002", "captions/d.parquet", "0", "9", 5),), captions=("d",)
    )
    run.adopt(more, 1)
    plan = run.plan()
    assert plan is not None
    assert [item.id for item in plan.slices] == ["000000", "000001", "000002"]
    assert plan.counts["captions"] == 6
    assert not run.is_finished()


@pytest.mark.parametrize("content", ['{"slice": "0000', "{}", "[]", "null", '"x"', "\x00" * 40])
@pytest.mark.parametrize("name", ["commits/000001.0.json", "plan.json", "run.json"])
def test_a_damaged_file_is_named_with_its_remedy(run: Run, name: str, content: str) -> None:
    run.adopt(PLAN)
    _commit(run, "000001", 1)
    Path(run.store.url, name).write_text(content)
    remedy = "--repair" if name.startswith("commits") else "remove it"
    with pytest.raises(UserError, match=f"{run.store.url}/{name} is damaged.*{remedy}"):
        run.seal()


def test_a_new_generation_repairs_a_damaged_commit(
    run: Run,
) -> None:
    run.adopt(PLAN)
    good, _ = _commit(run, "000000", 2), _commit(run, "000001", 1)
    Path(run.store.url, "commits/000001.0.json").write_bytes(b"")
    assert list(run.results(run.layout(PLAN)).damaged) == ["000001"]
    better = run.commits.commit("000001", [Output("scores", pa.table({"x": [1]}))], generation=1)
    assert run.results(run.layout(PLAN)).damaged == {}
    assert run.commits.all() == [good, better]


def test_damaged_verdicts_are_repaired_by_verify(run: Run) -> None:
    commits = verdict_commits(run.store)
    commits.commit("abc", [])
    Path(run.store.url, "verdicts/commits/abc.0.json").write_text("{")
    with pytest.raises(UserError, match="remove it and rerun the same memscan verify"):
        commits.all()
