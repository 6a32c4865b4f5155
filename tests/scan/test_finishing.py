"""Merging, checking and sealing runs whose slices are committed by the test."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from scanner.errors import UserError
from scanner.run import Commits, Output, Run
from scanner.run.progress import PlanningProgress, Progress, Watch
from scanner.scan.finishing import merge_and_check, remove_merged
from scanner.scan.merging import PartMergeWork
from scanner.storage import Store
from tests.local_ray import local_ray
from tests.run.planned import ROWS, commit_slice, plan_of, planned_run, slices_of, table_of
from tests.scan.finished import SIZES, SLICES, finish, rows_of, scored_run, seal


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return scored_run(tmp_path / "run")


def _bits(table: pa.Table) -> dict[str, Any]:
    """The values of a table; floats by their bits."""
    layers = pc.list_flatten(table["layers"]).to_numpy()
    return {
        "caption_id": table["caption_id"].to_pylist(),
        "entropy_e": table["entropy_e"].to_numpy().tobytes(),
        "layers": layers.tobytes(),
    }


def test_merged_parts_hold_every_row_bit_for_bit(run: Run) -> None:
    small = rows_of(run, run.seal())
    assert finish(run) == {}
    manifest = run.seal()
    assert [part["rows"] for part in manifest["scores"]] == [5 * ROWS, 5 * ROWS - 1]
    merged = rows_of(run, manifest)
    assert _bits(merged) == _bits(small)
    assert merged.schema.equals(small.schema, check_metadata=True)
    expected = pa.concat_tables([table_of(i, ROWS - (i.id == "000007")) for i in SLICES])
    assert _bits(merged) == _bits(expected)
    assert len(manifest["rejects"]) == 1
    assert manifest["reject_reasons"] == {"not finite": 1}
    assert manifest["counts"]["scan_rejects"] == 1


def test_small_parts_go_once_the_manifest_lists_merged_ones(run: Run) -> None:
    assert finish(run) == {}
    assert len(run.store.names("scores")) == len(SLICES)
    manifest = seal(run)
    assert run.store.names("scores") == run.store.names("rejects") == []
    assert run.is_finished()
    assert finish(run, reads_all=True) == {}
    again = seal(run)
    assert again["scores"] == manifest["scores"]
    assert len(run.store.names("compacted/scores")) == 2


def test_a_killed_removal_is_completed_by_the_nextseal(run: Run) -> None:
    assert finish(run) == {}
    run.seal()
    first = run.store.names("scores")[0]
    run.store.remove(first)
    assert finish(run) == {}
    seal(run)
    assert run.store.names("scores") == []


def test_only_parts_of_slices_are_removed(run: Run) -> None:
    plan = run.plan()
    assert plan is not None
    group = run.layout(plan, SIZES).pending[0]
    run.compaction.commit(group.id, [], group.generation, notes={"replaced": ["run.json"]})
    remove_merged(run, {"rejects": [], "scores": []}, None, lambda _: None)
    assert run.record()


def test_parts_of_the_manifest_before_stay_until_the_next(run: Run) -> None:
    before = run.seal()
    assert finish(run) == {}
    seal(run)
    assert len(rows_of(run, before)) == len(SLICES) * ROWS - 1
    run.adopt(plan_of(()), 1)
    seal(run)
    assert run.store.names("scores") == []


def test_a_killed_merge_resumes_with_what_is_committed(run: Run) -> None:
    plan = run.plan()
    assert plan is not None
    first = run.layout(plan, SIZES).pending[0]
    work = PartMergeWork(run.store, "f")
    run.store.write("compacted/scores/000000-000004-killed.parquet", b"half")
    result = work.finish(work.prepare(first))
    made = run.compaction.commit(first.id, result.outputs, first.generation, notes=result.notes)
    assert finish(run) == {}
    manifest = seal(run)
    assert manifest["scores"][0]["path"] == made.parts[0].path
    assert len(manifest["scores"]) == 2


def test_a_layout_changed_by_another_driver_is_listed_again(run: Run) -> None:
    plan = run.plan()
    assert plan is not None
    small = run.layout(plan)
    assert finish(run) == {}
    seal(run)
    manifest = run.seal(small)
    assert len(rows_of(run, manifest)) == len(SLICES) * ROWS - 1


def test_another_driver_between_reading_and_sealing_is_followed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One driver lists small parts; before its manifest is there, another one removes them."""
    other = Run.existing(run.store.url)
    create = Store.create

    def late(store: Store, name: str, data: bytes) -> bool:
        if name == "manifest-0001.json" and store is run.store:
            assert finish(other) == {}
            seal(other)
        return create(store, name, data)

    monkeypatch.setattr(Store, "create", late)
    manifest = run.seal()
    assert len(rows_of(run, manifest)) == len(SLICES) * ROWS - 1
    assert run.manifest() == manifest


def test_an_extended_run_keeps_its_merged_parts(run: Run) -> None:
    assert finish(run) == {}
    before = seal(run)
    more = slices_of(5, first=10)
    run.adopt(plan_of(more), 1)
    assert not run.is_finished()
    for item in more:
        commit_slice(run, item)
    assert finish(run) == {}
    manifest = seal(run)
    assert manifest["scores"][:2] == before["scores"]
    assert [part["rows"] for part in manifest["scores"]] == [5 * ROWS, 5 * ROWS - 1, 5 * ROWS]
    assert run.is_finished()


def test_a_group_with_a_quarantined_slice_is_merged_later(tmp_path: Path) -> None:
    run, _ = planned_run(tmp_path / "run", SLICES)
    for item in SLICES[1:]:
        commit_slice(run, item)
    assert finish(run) == {}
    manifest = seal(run)
    assert len(manifest["scores"]) == 5
    assert manifest["counts"]["quarantined"] == ROWS
    commit_slice(run, SLICES[0])
    assert finish(run) == {}
    assert len(seal(run)["scores"]) == 2


def test_parts_of_another_run_are_refused_not_merged(run: Run) -> None:
    Path(run.store.url, "commits/000002.0.json").unlink()
    Commits(run.store, "commits", "another").commit(
        "000002", [Output("scores", table_of(SLICES[2]))]
    )
    assert finish(run) == {}
    with pytest.raises(UserError, match=r"commits/000002.0.json was made with other settings"):
        run.seal()


@pytest.mark.slow
def test_many_groups_are_merged_and_removed_on_the_pool(tmp_path: Path) -> None:
    slices = slices_of(30)
    run, plan = planned_run(tmp_path / "run", slices)
    for item in slices:
        commit_slice(run, item)
    stages: list[str] = []
    with local_ray():
        watch = _recorder(stages)
        checked = merge_and_check(run, plan, None, watch, SIZES, reads_all=True)
        assert checked.damaged == {}
        manifest = run.seal(checked.layout)
        remove_merged(run, manifest, None, watch)
    assert stages == [
        "compact",
        "start",
        "check",
        "remove",
        "start",
    ]  # few batches are checked here
    assert [part["rows"] for part in manifest["scores"]] == [5 * ROWS] * 6
    expected = pa.concat_tables([table_of(item) for item in slices])
    assert _bits(rows_of(run, manifest)) == _bits(expected)
    assert run.store.names("scores") == []


def _recorder(stages: list[str]) -> Watch:
    """Note the stages in the order in which they begin."""

    def watch(state: Progress | PlanningProgress) -> None:
        if isinstance(state, PlanningProgress) and state.stage not in stages[-1:]:
            if state.stage != "start" and state.stage in stages:
                return
            stages.append(state.stage)

    return watch
