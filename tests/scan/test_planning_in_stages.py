"""Planning that is interrupted, repeated, split, extended or fails in part."""

import gzip
import io
import pickle
import random
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.status import main as status_command
from scanner.cluster import Item, Outcome, Work
from scanner.errors import UserError
from scanner.run import Commits, Plan, Run
from scanner.run.records import encode
from scanner.run.status import status
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.make_plan import APART, make_plan
from scanner.scan.plan.running import execute_here
from scanner.scan.plan.sizes import PlanSizes
from scanner.storage import Store
from tests.scan.test_inputs_and_plan import normalization

pytestmark = pytest.mark.slow
# Small, so that there are several items in each stage.
SMALL = PlanSizes(segment_rows=100, unit_segments=2, range_rows=100)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for part in range(2):
        rows = [f"{'Caption' if i % 3 else 'caption'} {i % 350}" for i in range(part * 500, 500)]
        rows += [f"only in {part}, {i}" for i in range(50)]
        table = pa.table({"caption": rows, "key": [f"{part}-{i}" for i in range(len(rows))]})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=40)
    return folder


def _plan(run: Path, *captions: Path, reference: tuple[Path, ...] = (), **options) -> Plan:
    config = ScanConfig(
        out=str(run), captions=tuple(map(str, captions)), reference=tuple(map(str, reference))
    )
    options = {"slice_rows": lambda rows: 30, "sizes": SMALL, **options}
    return make_plan(choose_inputs(config), Store(str(run)), normalization, **options)


def _table(run: Path, names: Sequence[str]) -> list[dict]:
    return [row for name in names for row in pq.read_table(run / name).to_pylist()]


def _shape(run: Path, plan: Plan) -> tuple:
    """All of a plan but the names of its parts."""
    slices = [(item.id, item.first, item.last, item.rows) for item in plan.slices]
    tables = [_table(run, names) for names in (plan.captions, plan.samples, plan.rejects)]
    return plan.inputs, slices, plan.counts, plan.columns, tables


def test_a_file_read_in_segments_keeps_its_row_numbers(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    plan = _plan(run, data / "0.parquet")
    assert len(list((run / "planning/0000/read").iterdir())) > 2
    samples = _table(run, plan.samples)
    assert [row["row"] for row in samples] == list(range(550))
    assert [row["key"] for row in samples] == [f"0-{i}" for i in range(550)]
    assert plan.inputs == (
        {
            "url": str(data / "0.parquet"), "is_reference": False, "rows": 550, "pairs": 550,
            "samples": 550, "rejects": 0, "not_downloaded": 0, "unreadable": False, "notes": {},
        },
    )  # fmt: skip


def test_slices_are_the_row_groups_in_the_order_of_ids(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    plan = _plan(run, data)
    assert len(plan.captions) > 2
    assert [item.id for item in plan.slices] == [f"{n:06d}" for n in range(len(plan.slices))]
    captions = _table(run, plan.captions)
    ids = [row["caption_id"] for row in captions]
    assert ids == sorted(set(ids))
    assert len(ids) == plan.counts["captions"] == 450
    bounds = [bound for item in plan.slices for bound in (item.first, item.last)]
    assert bounds == sorted(bounds)
    assert sum(item.rows for item in plan.slices) == 450
    spelling = {row["canonical"]: row["caption"] for row in captions}
    assert (spelling["caption 1"], spelling["caption 300"]) == ("Caption 1", "caption 300")


@pytest.mark.parametrize("seed", range(4))
def test_interrupted_planning_resumes_to_the_same_plan(
    tmp_path: Path, data: Path, seed: int
) -> None:
    run = tmp_path / "run"
    undisturbed = _shape(run, _plan(run, data))
    chance = random.Random(seed)
    planning = run / "planning/0000"
    done = sorted(planning.glob("[rg]*/*.json"), key=lambda f: (f.parent.name, f.name))
    later = [file for file in done if file.parent.name == "group"]
    chosen = [file for file in (later if seed < 2 else done) if chance.random() < 0.5]
    assert chosen
    for file in chosen:
        file.unlink()
    if seed >= 2:  # what was grouped is later than what was read
        for file in later:
            file.unlink(missing_ok=True)
    assert _shape(run, _plan(run, data)) == undisturbed


def test_a_second_driver_reuses_the_first_ones_planning(tmp_path: Path, data: Path) -> None:
    first = _plan(tmp_path / "run", data)
    parts = set((tmp_path / "run").rglob("*"))
    assert _plan(tmp_path / "run", data / "1.parquet") == first
    assert set((tmp_path / "run").rglob("*")) == parts


def test_an_extension_plans_only_what_is_new(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    first = _plan(run, data / "0.parquet")
    second = _plan(run, data, earlier=(first,))
    assert second.counts["captions"] == 50
    assert {row["canonical"][:9] for row in _table(run, second.captions)} == {"only in 1"}
    assert second.slices[0].id == f"{len(first.slices):06d}"
    assert second.counts["samples"] == 600
    third = _plan(run, data, earlier=(first, second))
    assert (third.counts["captions"], third.slices) == (0, ())


def test_a_limited_extension_takes_the_smallest_new_ids(tmp_path: Path, data: Path) -> None:
    captions = {}
    for limit in (None, 7):
        run = tmp_path / str(limit)
        first = _plan(run, data / "0.parquet")
        captions[limit] = _table(run, _plan(run, data, earlier=(first,), limit=limit).captions)
    assert captions[7] == captions[None][:7]


def test_limit_keeps_smallest_ids_and_all_references(tmp_path: Path, data: Path) -> None:
    (tmp_path / "null.csv").write_text(
        "caption\n" + "".join(f"null {i}\n" for i in range(40)) + "caption 3\n"
    )
    files = {"reference": (tmp_path / "null.csv",)}
    whole = _table(tmp_path / "a", _plan(tmp_path / "a", data, **files).captions)
    for limit in (1, 150, 399, 10_000):
        kept = [row["caption_id"] for row in whole if not row["is_reference"]][:limit]
        run = tmp_path / str(limit)
        limited = _plan(run, data, **files, limit=limit)
        assert _table(run, limited.captions) == [
            row for row in whole if row["is_reference"] or row["caption_id"] in set(kept)
        ]
        assert limited.counts["captions"] == min(limit, 450) + 40


def test_captions_above_the_limit_are_not_grouped(tmp_path: Path, data: Path) -> None:
    whole = _table(tmp_path / "a", _plan(tmp_path / "a", data).captions)
    limited = _plan(tmp_path / "b", data, limit=9)
    assert _table(tmp_path / "b", limited.captions) == whole[:9]
    assert len(list((tmp_path / "b/planning/0000/group").iterdir())) == 1


def test_the_work_of_the_stages_can_be_pickled(tmp_path: Path, data: Path) -> None:
    def elsewhere(
        commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]
    ) -> Outcome:
        return execute_here(*pickle.loads(pickle.dumps((commits, items, make_work))))

    here = _shape(tmp_path / "a", _plan(tmp_path / "a", data))
    assert _shape(tmp_path / "b", _plan(tmp_path / "b", data, execute=elsewhere)) == here


def _failing(stage: str, *which: str) -> Callable:
    """Return an executor that fails these items in a stage, and in segments read one by one."""

    def execute(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
        if not commits.folder.endswith((stage, APART)):
            return execute_here(commits, items, make_work)
        others = [item for item in items if item.id not in which]
        done = execute_here(commits, others, make_work).done
        failed = {item.id for item in items} & set(which)
        return Outcome(done, dict.fromkeys(failed, "OutOfMemory: no room"))

    return execute


def test_files_of_a_failed_unit_are_unreadable(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    plan = _plan(run, data, execute=_failing("read", "000000", "000000-00"))
    (reason,) = {row["reason"] for row in _table(run, plan.rejects)}
    assert reason == "unreadable file: OutOfMemory: no room"
    assert plan.counts["rejected_files"] == 1
    assert [file["unreadable"] for file in plan.inputs] == [True, False]
    assert plan.counts["rows"] == plan.counts["samples"] == 550 + 50 - 80


def test_a_failed_file_does_not_reject_its_unit(tmp_path: Path) -> None:
    for number in range(40):
        table = pa.table({"caption": [f"caption {number}"]})
        pq.write_table(table, tmp_path / f"{number:02d}.parquet")
    run = tmp_path / "run"
    options = {
        "execute": _failing("read", "000000", "000000-07"),
        "sizes": replace(SMALL, unit_segments=64, unit_bytes=1 << 20),
    }
    plan = _plan(run, *sorted(tmp_path.glob("*.parquet")), **options)
    (reject,) = _table(run, plan.rejects)
    assert reject["source"].endswith("07.parquet")
    assert plan.counts["samples"] == 39
    assert [file["url"] for file in plan.inputs] == sorted(map(str, tmp_path.glob("*.parquet")))
    shape = _shape(run, plan)
    (run / "planning/0000/apart/000000-03.0.json").unlink()
    again = _plan(run, *sorted(tmp_path.glob("*.parquet")), **options)
    assert _shape(run, again) == shape, "resumed while reading segments one by one"


def test_failed_grouping_is_an_error_and_can_be_resumed(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match=r"000001: OutOfMemory: no room.*rerun the same command"):
        _plan(tmp_path / "b", data, execute=_failing("group", "000001"))
    undisturbed = _shape(tmp_path / "a", _plan(tmp_path / "a", data))
    assert _shape(tmp_path / "b", _plan(tmp_path / "b", data)) == undisturbed


def test_a_store_gives_the_same_plan_as_a_disk(tmp_path: Path, data: Path, s3: str) -> None:
    # Fewer parts than elsewhere, each of which is many requests; still several of each stage.
    sizes = replace(SMALL, segment_rows=300, range_rows=300)
    (data / "2.csv.gz").write_bytes(gzip.compress(b"caption\nfrom csv\n"))
    text = tarfile.TarInfo("0.txt")
    text.size = 8
    for name, mode in (("3.tar", "w:"), ("4.tar.gz", "w:gz")):
        with tarfile.open(data / name, mode) as tar:
            tar.addfile(text, io.BytesIO(b"from tar"))
    store = Store(f"{s3}/{tmp_path.name}")
    for file in data.iterdir():
        store.upload(file, f"data/{file.name}")
    config = ScanConfig(captions=(f"{store.url}/data",))
    on_store = make_plan(choose_inputs(config), store, normalization, lambda rows: 30, sizes=sizes)
    on_disk = _plan(tmp_path / "run", data, sizes=sizes)
    assert on_store.counts == on_disk.counts
    assert on_disk.counts["rejected_files"] == 0
    captions = [pq.read_table(store.open(name)) for name in on_store.captions]
    rows = [row for table in captions for row in table.to_pylist()]
    assert rows == _table(tmp_path / "run", on_disk.captions)
    assert {"from csv", "from tar"} < {row["caption"] for row in rows}


def test_chunks_of_any_size_give_the_same_captions(tmp_path: Path, data: Path) -> None:
    whole = _table(tmp_path / "a", _plan(tmp_path / "a", data).captions)
    sizes = replace(SMALL, chunk_rows=30, batch_rows=7, staged_rows=3)
    plan = _plan(tmp_path / "b", data, sizes=sizes)
    assert len(plan.samples) > 10
    assert _table(tmp_path / "b", plan.captions) == whole


def test_status_shows_the_progress_of_planning(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Store(str(tmp_path / "run")))
    run.begin({"inputs": {}, "fingerprint": {"id": "f"}})
    names = ("units_read", "ranges_merged", "image_files_read", "image_ranges_grouped")
    nothing = dict.fromkeys((*names, "merge_level", "ranges_grouped"), 0)
    assert status(run)["planning"] == {"units": None, **nothing}

    def stops_after_one_range(
        commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]
    ) -> Outcome:
        if commits.folder.endswith("group"):
            execute_here(commits, items[:1], make_work)
            raise KeyboardInterrupt
        return execute_here(commits, items, make_work)

    with pytest.raises(KeyboardInterrupt):
        _plan(tmp_path / "run", data, execute=stops_after_one_range)
    assert (units := len(list((tmp_path / "run/planning/0000/read").iterdir()))) > 2
    planning = status(run)["planning"]
    assert planning == {**nothing, "units": units, "units_read": units, "ranges_grouped": 1}
    assert status_command([run.store.url]) == 0
    assert f"planning   {units} of {units} input parts read" in capsys.readouterr().out
    run.adopt(_plan(tmp_path / "run", data))
    assert status(run)["planning"] is None
    run.store.write("planning/0001/inputs.json", encode({"units": [{}, {}]}))
    assert status(run)["planning"] == {**nothing, "units": 2}
