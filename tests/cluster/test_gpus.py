"""Which GPU an actor sees, by Ray's assignment of GPUs that are declared to it, not real."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.cluster import Resources, Result, execute
from scanner.run import Output, Run, Slice
from scanner.storage import Store
from tests.cluster.events import refuse_failures
from tests.local_ray import local_ray
from tests.waiting import wait_until

SLICES = [Slice(f"{number:06d}", "", "", "", 1) for number in range(6)]


class Where:
    """Says which GPUs its process sees; works once another process is there too."""

    def __init__(self, notes: str) -> None:
        self.notes = Path(notes)

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        (self.notes / f"process-{os.getpid()}").touch()
        wait_until(lambda: len(list(self.notes.glob("process-*"))) == 2, "no other process")
        return item

    def finish(self, item: Slice) -> Result:
        where = {"process": [str(os.getpid())], "gpu": [os.environ["CUDA_VISIBLE_DEVICES"]]}
        return Result([Output("scores", pa.table(where))])


@pytest.fixture(scope="module")
def declared_gpus() -> Iterator[None]:
    """A local Ray that is told of two GPUs, whether there are any or not."""
    with local_ray(num_cpus=4, num_gpus=2):
        yield


def _seen(tmp_path: Path, actors: int, gpus: float) -> set[tuple[str, str]]:
    """The process and the GPUs of each item's actor."""
    run = Run(Store(str(tmp_path / "run")))
    notes = tmp_path / "notes"
    notes.mkdir()
    make = partial(Where, str(notes))
    resources = Resources(actors=actors, cpus=1, gpus=gpus)
    execute(run.commits, SLICES, make, resources, on_event=refuse_failures)
    tables = [
        pq.read_table(tmp_path / "run" / part.path)
        for commit in run.commits.all()
        for part in commit.parts
    ]
    return {(table["process"][0].as_py(), table["gpu"][0].as_py()) for table in tables}


def test_actors_are_pinned_to_declared_gpus(tmp_path: Path, declared_gpus: None) -> None:
    seen = _seen(tmp_path, actors=2, gpus=1)
    assert sorted(gpu for _, gpu in seen) == ["0", "1"]


def test_actors_with_fractions_share_one_declared_gpu(tmp_path: Path, declared_gpus: None) -> None:
    seen = _seen(tmp_path, actors=2, gpus=0.5)
    assert len(seen) == 2
    assert {gpu for _, gpu in seen} in ({"0"}, {"1"})


@pytest.mark.parametrize(("gpus", "room"), [(0.5, 4), (0.4, 4), (0.25, 8), (1, 2), (2, 1), (4, 0)])
def test_an_actor_s_share_is_of_one_gpu(
    gpus: float, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "scanner.cluster.connection.resources.nodes", lambda _: [{"CPU": 4.0, "GPU": 2.0}]
    )
    assert Resources(None, cpus=0.1, gpus=gpus).fit() == room
