"""The pool with real Ray actors; the work is of this file, since the pool knows no captions."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from scanner.cluster import Resources, run_slices, start_ray
from scanner.errors import UserError
from scanner.run import Run, Slice
from scanner.storage import Store

SLICES = [Slice(f"{number:06d}", "", "", "", 1) for number in range(6)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    start_ray(None)
    yield
    ray.shutdown()


class Work:
    """Notes each call in a folder; some slices fail or kill their process, some times."""

    def __init__(self, notes: str, fails: dict[str, int], kills: dict[str, int]) -> None:
        self.notes, self.fails, self.kills = Path(notes), fails, kills

    def __call__(self, item: Slice) -> dict[str, pa.Table]:
        calls = len(list(self.notes.glob(f"{item.id}-*")))
        (self.notes / f"{item.id}-{calls}").write_text(str(os.getpid()))
        if calls < self.fails.get(item.id, 0):
            raise ValueError(f"no luck with {item.id}")
        if calls < self.kills.get(item.id, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return {"scores": pa.table({"caption_id": [item.id]})}


def _drive(tmp_path: Path, actors: int = 2, fails=None, kills=None, make=Work):
    run = Run(Store(str(tmp_path / "run")))
    notes = tmp_path / "notes"
    notes.mkdir(exist_ok=True)
    make_work = partial(make, str(notes), fails or {}, kills or {})
    resources = Resources(actors=actors, cpus=0.5, gpus=0)
    return run, list(run_slices(run, SLICES, make_work, "f", resources))


def test_every_slice_is_committed_once_by_several_processes(tmp_path: Path) -> None:
    run, events = _drive(tmp_path)
    assert sorted(run.committed()) == [item.id for item in SLICES]
    assert len([event for event in events if event.kind == "commit"]) == len(SLICES)
    assert len({note.read_text() for note in (tmp_path / "notes").iterdir()}) == 2


def test_a_failing_slice_is_tried_again_then_quarantined_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    run, events = _drive(tmp_path, fails={"000001": 1, "000003": 99})
    assert sorted(run.committed()) == [item.id for item in SLICES if item.id != "000003"]
    quarantined = [event for event in events if event.kind == "quarantine"]
    assert [event.slice.id for event in quarantined if event.slice] == ["000003"]
    assert "no luck with 000003" in quarantined[0].reason


def test_a_killed_process_is_replaced_and_its_slice_done(tmp_path: Path) -> None:
    run, events = _drive(tmp_path, kills={"000000": 1, "000002": 1})
    assert sorted(run.committed()) == [item.id for item in SLICES]
    assert [event.kind for event in events].count("retry") == 2


def test_work_that_cannot_be_made_ends_with_its_reason(tmp_path: Path) -> None:
    class Broken(Work):
        def __init__(self, *arguments) -> None:
            raise ValueError("no such weights")

    with pytest.raises(UserError, match="no such weights"):
        _drive(tmp_path, make=Broken)


def test_actors_are_pinned_to_declared_gpus(tmp_path: Path) -> None:
    ray.shutdown()
    ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)

    class Where(Work):
        def __call__(self, item: Slice) -> dict[str, pa.Table]:
            super().__call__(item)
            return {"scores": pa.table({"gpu": [os.environ["CUDA_VISIBLE_DEVICES"]]})}

    run = Run(Store(str(tmp_path / "run")))
    (tmp_path / "notes").mkdir()
    make = partial(Where, str(tmp_path / "notes"), {}, {})
    list(run_slices(run, SLICES, make, "f", Resources(actors=2, cpus=1, gpus=1)))
    import pyarrow.parquet as pq

    seen = {
        pq.read_table(tmp_path / "run" / part.path)["gpu"][0].as_py()
        for commit in run.commits()
        for part in commit.parts
    }
    assert seen == {"0", "1"}
    ray.shutdown()
    start_ray(None)
