"""Merging, checking and sealing runs whose slices are committed by the test."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from scanner.errors import UserError
from scanner.run import Commits, Output, Run
from scanner.run.compaction import GroupSizes
from scanner.run.records import Plan
from scanner.run.results import compare_with_listing
from scanner.scan.finishing import merge_and_check, read_parts, remove_merged
from scanner.scan.merging import MergeWork
from scanner.storage import Store
from tests.run.planned import (
    ROWS,
    commit_slice,
    damage,
    plan_of,
    planned_run,
    slices_of,
    table_of,
)

SIZES = GroupSizes(rows=5 * ROWS, min_slices=4)
SLICES = slices_of(10)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with two groups of five committed slices, some captions rejected."""
    run, _ = planned_run(tmp_path / "run", SLICES)
    for item in SLICES:
        commit_slice(run, item, rejects=item.id == "000007")
    return run


def _finish(run: Run, reads_all: bool = False) -> dict[str, str]:
    plan = run.plan()
    assert plan is not None
    return merge_and_check(run, plan, None, lambda _: None, SIZES, reads_all)


def _seal(run: Run) -> dict[str, Any]:
    manifest = run.seal()
    remove_merged(run, manifest, None, lambda _: None)
    return manifest


def _rows(run: Run, manifest: dict[str, Any]) -> pa.Table:
    tables = []
    for part in manifest["scores"]:
        with run.store.open(part["path"]) as file:
            tables.append(pq.read_table(file))
    return pa.concat_tables(tables)


def _bits(table: pa.Table) -> dict[str, Any]:
    """The values of a table; floats by their bits."""
    layers = pc.list_flatten(table["layers"]).to_numpy()
    return {
        "caption_id": table["caption_id"].to_pylist(),
        "entropy_e": table["entropy_e"].to_numpy().tobytes(),
        "layers": layers.tobytes(),
    }


def test_merged_parts_hold_every_row_bit_for_bit(run: Run) -> None:
    small = _rows(run, run.seal())
    assert _finish(run) == {}
    manifest = run.seal()
    assert [part["rows"] for part in manifest["scores"]] == [5 * ROWS, 5 * ROWS - 1]
    merged = _rows(run, manifest)
    assert _bits(merged) == _bits(small)
    assert merged.schema.equals(small.schema, check_metadata=True)
    expected = pa.concat_tables([table_of(i, ROWS - (i.id == "000007")) for i in SLICES])
    assert _bits(merged) == _bits(expected)
    assert len(manifest["rejects"]) == 1
    assert manifest["reject_reasons"] == {"not finite": 1}
    assert manifest["counts"]["scan_rejects"] == 1


def test_small_parts_go_once_the_manifest_lists_merged_ones(run: Run) -> None:
    assert _finish(run) == {}
    assert len(run.store.names("scores")) == len(SLICES)
    manifest = _seal(run)
    assert run.store.names("scores") == run.store.names("rejects") == []
    assert run.is_finished()
    assert _finish(run, reads_all=True) == {}
    again = _seal(run)
    assert again["scores"] == manifest["scores"]
    assert len(run.store.names("compacted/scores")) == 2


def test_a_killed_removal_is_completed_by_the_next_seal(run: Run) -> None:
    assert _finish(run) == {}
    run.seal()
    first = run.store.names("scores")[0]
    run.store.remove(first)
    assert _finish(run) == {}
    _seal(run)
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
    assert _finish(run) == {}
    _seal(run)
    assert len(_rows(run, before)) == len(SLICES) * ROWS - 1
    run.adopt(plan_of(()), 1)
    _seal(run)
    assert run.store.names("scores") == []


def test_a_killed_merge_resumes_with_what_is_committed(run: Run) -> None:
    plan = run.plan()
    assert plan is not None
    first = run.layout(plan, SIZES).pending[0]
    work = MergeWork(run.store, "f")
    run.store.write("compacted/scores/000000-000004-killed.parquet", b"half")
    result = work.finish(work.prepare(first))
    made = run.compaction.commit(first.id, result.outputs, first.generation, notes=result.notes)
    assert _finish(run) == {}
    manifest = _seal(run)
    assert manifest["scores"][0]["path"] == made.parts[0].path
    assert len(manifest["scores"]) == 2


def test_another_driver_between_reading_and_sealing_is_followed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One driver lists small parts; before its manifest is there, another one removes them."""
    other = Run.existing(run.store.url)
    create = Store.create

    def late(store: Store, name: str, data: bytes) -> bool:
        if name == "manifest-0001.json" and store is run.store:
            assert _finish(other) == {}
            _seal(other)
        return create(store, name, data)

    monkeypatch.setattr(Store, "create", late)
    manifest = run.seal()
    assert len(_rows(run, manifest)) == len(SLICES) * ROWS - 1
    assert run.manifest() == manifest


@pytest.mark.parametrize("kind", ["flipped", "missing", "commit"])
def test_a_damaged_small_part_is_found_while_merging(run: Run, kind: str) -> None:
    commit = run.commits.get("000003")
    assert commit is not None
    path = Path(run.store.url, commit.parts[0].path)
    if kind == "flipped":
        damage(path)
    elif kind == "missing":
        path.unlink()
    else:
        Path(run.store.url, commit.name).write_text("{")
    problems = _finish(run)
    assert list(problems) == ["000003"]
    commit_slice(run, SLICES[3], generation=1)
    assert _finish(run) == {}
    assert len(_rows(run, _seal(run))) == len(SLICES) * ROWS - 1


@pytest.mark.parametrize("kind", ["flipped", "cut", "missing", "commit"])
def test_slices_of_a_damaged_merged_part_are_scored_again(run: Run, kind: str) -> None:
    assert _finish(run) == {}
    first = _seal(run)["scores"][0]["path"]
    path = Path(run.store.url, first)
    if kind == "flipped":
        damage(path)
        assert _finish(run) == {}  # of the same size: only reading finds it
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif kind == "missing":
        path.unlink()
    else:
        Path(run.store.url, "compaction/000000-000004.5.json").write_text("{")
    problems = _finish(run, reads_all=kind == "flipped")
    assert list(problems) == [item.id for item in SLICES[:5]]
    for item in SLICES[:5]:
        assert commit_slice(run, item, generation=1).generation == 1
    assert _finish(run, reads_all=True) == {}
    manifest = _seal(run)
    assert manifest["scores"][0]["path"] != first
    assert len(_rows(run, manifest)) == len(SLICES) * ROWS - 1


def test_a_repair_that_was_killed_halfway_is_completed(run: Run) -> None:
    assert _finish(run) == {}
    Path(run.store.url, _seal(run)["scores"][0]["path"]).unlink()
    for item in SLICES[:2]:
        commit_slice(run, item, generation=1)
    problems = _finish(run)  # the other slices' own parts are gone
    assert list(problems) == [item.id for item in SLICES[2:5]]
    for item in SLICES[2:5]:
        commit_slice(run, item, generation=1)
    assert _finish(run) == {}
    assert len(_rows(run, _seal(run))) == len(SLICES) * ROWS - 1


def test_an_extended_run_keeps_its_merged_parts(run: Run) -> None:
    assert _finish(run) == {}
    before = _seal(run)
    more = slices_of(5, first=10)
    run.adopt(plan_of(more), 1)
    assert not run.is_finished()
    for item in more:
        commit_slice(run, item)
    assert _finish(run) == {}
    manifest = _seal(run)
    assert manifest["scores"][:2] == before["scores"]
    assert [part["rows"] for part in manifest["scores"]] == [5 * ROWS, 5 * ROWS - 1, 5 * ROWS]
    assert run.is_finished()


def test_a_group_with_a_quarantined_slice_is_merged_later(tmp_path: Path) -> None:
    run, _ = planned_run(tmp_path / "run", SLICES)
    for item in SLICES[1:]:
        commit_slice(run, item)
    assert _finish(run) == {}
    manifest = _seal(run)
    assert len(manifest["scores"]) == 5
    assert manifest["counts"]["quarantined"] == ROWS
    commit_slice(run, SLICES[0])
    assert _finish(run) == {}
    assert len(_seal(run)["scores"]) == 2


def test_parts_of_another_run_are_refused_not_merged(run: Run) -> None:
    Path(run.store.url, "commits/000002.0.json").unlink()
    Commits(run.store, "commits", "another").commit(
        "000002", [Output("scores", table_of(SLICES[2]))]
    )
    assert _finish(run) == {}
    with pytest.raises(UserError, match=r"commits/000002.0.json was made with other settings"):
        run.seal()


def test_sealing_reads_no_part_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = slices_of(3)
    run, plan = planned_run(tmp_path / "run", slices)
    for item in slices:
        commit_slice(run, item)
    read: list[str] = []
    original = Store.read

    def recorded(store: Store, name: str, most: int | None = None) -> bytes:
        read.append(name)
        return original(store, name, most)

    monkeypatch.setattr(Store, "read", recorded)
    assert merge_and_check(run, plan, None, lambda _: None) == {}
    run.seal()
    assert not [name for name in read if name.endswith(".parquet")]
    assert merge_and_check(run, plan, None, lambda _: None, reads_all=True) == {}
    assert len([name for name in read if name.endswith(".parquet")]) == 3


def test_a_part_that_s3_reports_changed_is_read(s3: str, tmp_path: Path) -> None:
    slices = slices_of(3)
    run, plan = planned_run(f"{s3}/{tmp_path.name}/etag", slices)
    copied, changed, _ = (commit_slice(run, item).parts[0] for item in slices)
    assert copied.etag
    data = bytearray(run.store.read(changed.path))
    data[len(data) // 2] ^= 1
    run.store.write(changed.path, bytes(data))
    parts = [part for part, _ in run.results(run.layout(plan)).parts()]
    damaged, suspects = compare_with_listing(run.store, parts)
    assert damaged == {}
    assert suspects == [changed]
    assert list(merge_and_check(run, plan, None, lambda _: None)) == ["000001"]
    assert run.store.names("checks") == []


def test_reading_again_leaves_nothing_behind(run: Run) -> None:
    plan = run.plan()
    assert isinstance(plan, Plan)
    parts = [part for part, _ in run.results(run.layout(plan)).parts()]
    damage(Path(run.store.url, parts[0].path))
    assert list(read_parts(run.store, parts, None, lambda _: None)) == [parts[0].path]
    assert not list(Path(run.store.url, "checks").glob("*"))
