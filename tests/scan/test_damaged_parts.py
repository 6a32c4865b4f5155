"""Damaged parts of runs whose slices are committed by the test."""

from pathlib import Path

import pytest

from scanner.errors import UserError
from scanner.run import Run
from scanner.run.records import Plan
from scanner.run.results import compare_with_listing
from scanner.scan.finishing import merge_and_check, read_parts
from scanner.scan.opening import refuse_missing_parts
from scanner.storage import Store
from tests.run.planned import ROWS, commit_slice, damage, planned_run, slices_of
from tests.scan.finished import SLICES, finish, rows_of, scored_run, seal


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return scored_run(tmp_path / "run")


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
    problems = finish(run)
    assert list(problems) == ["000003"]
    commit_slice(run, SLICES[3], generation=1)
    assert finish(run) == {}
    assert len(rows_of(run, seal(run))) == len(SLICES) * ROWS - 1


@pytest.mark.parametrize("kind", ["flipped", "cut", "missing", "commit"])
def test_slices_of_a_damaged_merged_part_are_scored_again(run: Run, kind: str) -> None:
    assert finish(run) == {}
    first = seal(run)["scores"][0]["path"]
    path = Path(run.store.url, first)
    if kind == "flipped":
        damage(path)
        assert finish(run) == {}  # of the same size: only reading finds it
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif kind == "missing":
        path.unlink()
    else:
        Path(run.store.url, "compaction/000000-000004.5.json").write_text("{")
    problems = finish(run, reads_all=kind == "flipped")
    assert list(problems) == [item.id for item in SLICES[:5]]
    for item in SLICES[:5]:
        assert commit_slice(run, item, generation=1).generation == 1
    assert finish(run, reads_all=True) == {}
    manifest = seal(run)
    assert manifest["scores"][0]["path"] != first
    assert len(rows_of(run, manifest)) == len(SLICES) * ROWS - 1


def test_a_sealed_run_without_a_part_is_not_called_finished(run: Run) -> None:
    assert finish(run) == {}
    manifest = seal(run)
    paths = [part["path"] for part in manifest["scores"]]
    refuse_missing_parts("RUN", run.store, manifest)
    Path(run.store.url, paths[-1]).unlink()
    with pytest.raises(UserError, match=f"RUN: 1 file of scores missing, such as {paths[-1]}; .*"):
        refuse_missing_parts("RUN", run.store, manifest)


def test_a_repair_that_was_killed_halfway_is_completed(run: Run) -> None:
    assert finish(run) == {}
    Path(run.store.url, seal(run)["scores"][0]["path"]).unlink()
    for item in SLICES[:2]:
        commit_slice(run, item, generation=1)
    problems = finish(run)  # the other slices' own parts are gone
    assert list(problems) == [item.id for item in SLICES[2:5]]
    for item in SLICES[2:5]:
        commit_slice(run, item, generation=1)
    assert finish(run) == {}
    assert len(rows_of(run, seal(run))) == len(SLICES) * ROWS - 1


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
    run.seal(merge_and_check(run, plan, None, lambda _: None).layout)
    assert not [name for name in read if name.endswith(".parquet")]
    checked = merge_and_check(run, plan, None, lambda _: None, reads_all=True)
    assert checked.damaged == {}
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
    assert list(merge_and_check(run, plan, None, lambda _: None).damaged) == ["000001"]
    assert run.store.names("checks") == []


def test_reading_again_leaves_nothing_behind(run: Run) -> None:
    plan = run.plan()
    assert isinstance(plan, Plan)
    parts = [part for part, _ in run.results(run.layout(plan)).parts()]
    damage(Path(run.store.url, parts[0].path))
    assert list(read_parts(run.store, parts, None, lambda _: None)) == [parts[0].path]
    assert not list(Path(run.store.url, "checks").glob("*"))
