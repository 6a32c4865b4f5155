"""Bad devices and bad nodes, on GPUs and nodes that are declared to Ray, not real."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
import ray

from scanner.cluster import (
    BrokenDevice,
    Committed,
    Event,
    Notice,
    Quarantined,
    Requeued,
    Resources,
    Result,
    RetryLimits,
    Task,
    Tick,
    Timing,
    report,
)
from scanner.cluster.dispatcher import dispatch
from scanner.errors import UserError
from scanner.run import Commits, Output, Slice
from scanner.storage import Store
from tests.local_ray import local_ray

QUICK = RetryLimits(delays=(0.1,))


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with local_ray(num_cpus=4, num_gpus=2):
        yield


class Work:
    def __init__(self, notes: str) -> None:
        self.notes = Path(notes)
        self.gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        time.sleep(0.02)
        return item

    def finish(self, item: Slice) -> Result:
        return Result([Output("scores", pa.table({"caption_id": [item.id]}))])


def _events(
    tmp_path: Path,
    make: Callable[..., Any],
    number: int,
    limits: RetryLimits = QUICK,
    actors: int = 2,
    report_seconds: float = 2.0,
) -> list[Event[Slice]]:
    notes = tmp_path / "notes"
    notes.mkdir()
    tasks = [Task(Slice(f"{each:06d}", "", "", "", 1)) for each in range(number)]
    resources = Resources(actors=actors, cpus=1, gpus=1)
    commits = Commits(Store(str(tmp_path / "run")), "commits", "f")
    work = partial(make, str(notes))
    events: list[Event[Slice]] = []
    timing = Timing(tick_seconds=min(1.0, report_seconds), report_seconds=report_seconds)
    options = {"in_flight": 3, "limits": limits, "timing": timing}
    for event in dispatch(commits, tasks, work, resources, **options):
        assert actors > 1 or not isinstance(event, Quarantined), event
        events.append(event)
    assert len(commits.done()) + sum(isinstance(e, Quarantined) for e in events) == number
    return events


def _of(kind: type, events: list[Event[Slice]]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_bad_gpu_costs_no_item_and_is_taken_out(tmp_path: Path) -> None:
    class Bad(Work):
        def compute(self, item: Slice) -> Slice:
            if self.gpu == "0":
                raise BrokenDevice("CUDA error: uncorrectable ECC error encountered")
            return super().compute(item)

    events = _events(tmp_path, Bad, 150)
    assert len(_of(Committed, events)) == 150
    assert not _of(Quarantined, events)
    (out,) = _of(Tick, events)[-1].out_of_service
    assert out.startswith("GPU 0 of ")
    assert "ECC" in out
    assert len(_of(Requeued, events)) <= 6, "a bad device is not tried on and on"


def test_a_gpu_with_plain_errors_is_taken_out_too(tmp_path: Path) -> None:
    class Wrong(Work):
        def compute(self, item: Slice) -> Slice:
            if self.gpu == "1":
                raise ValueError("scores are not finite")
            return super().compute(item)

    events = _events(tmp_path, Wrong, 60)
    assert len(_of(Committed, events)) == 60
    (out,) = _of(Tick, events)[-1].out_of_service
    assert out.startswith("GPU 1 of ")


def test_a_bad_item_takes_no_device_out(tmp_path: Path) -> None:
    class Poison(Work):
        def compute(self, item: Slice) -> Slice:
            if item.id in ("000003", "000020"):
                raise BrokenDevice("CUDA error: an illegal memory access was encountered")
            return super().compute(item)

    events = _events(tmp_path, Poison, 40)
    given_up = _of(Quarantined, events)
    assert sorted(event.item.id for event in given_up) == ["000003", "000020"]
    assert "in compute\n" in given_up[0].traceback
    assert not _of(Tick, events)[-1].out_of_service


def test_the_only_gpu_that_breaks_quarantines_no_item(tmp_path: Path) -> None:
    class Broken(Work):
        def compute(self, item: Slice) -> Slice:
            raise BrokenDevice("CUDA error: the GPU has fallen off the bus")

    @ray.remote(num_gpus=1, num_cpus=0)
    class Other:
        """Holds the other GPU, on which a restarted actor could be tried otherwise."""

        def hold(self) -> None: ...

    other = Other.remote()
    ray.get(other.hold.remote())
    try:
        with pytest.raises(UserError, match=r"fallen off the bus.*given up after 5 restarts"):
            _events(tmp_path, Broken, 20, actors=1)
    finally:
        ray.kill(other)


def test_slow_items_with_heartbeats_are_not_hanging(tmp_path: Path) -> None:
    class Slow(Work):
        def compute(self, item: Slice) -> Slice:
            for count in range(20):
                report(count)
                time.sleep(0.25)
            return item

    limits = RetryLimits(delays=(0.1,), hang_seconds=4.0, hang_factor=2.0)
    events = _events(tmp_path, Slow, 2, limits)
    assert not _of(Requeued, events)


def test_an_actor_with_a_full_queue_still_reports(tmp_path: Path) -> None:
    class Many(Work):
        def compute(self, item: Slice) -> Slice:
            report(1)
            time.sleep(0.3)
            return item

    seen = set()
    for event in _of(Tick, _events(tmp_path, Many, 30, report_seconds=0.1)):
        seen |= {name for name, count in event.running.items() if count}
    assert len(seen) > 10


def test_slow_items_without_heartbeats_get_longer(tmp_path: Path) -> None:
    class Slower(Work):
        def compute(self, item: Slice) -> Slice:
            time.sleep(3)
            return item

    events = _events(tmp_path, Slower, 3, RetryLimits(delays=(0.1,), hang_seconds=1.0))
    assert len(_of(Committed, events)) == 3


def test_a_start_that_hangs_is_ended_and_tried_again(tmp_path: Path) -> None:
    class Stuck(Work):
        def __init__(self, notes: str) -> None:
            super().__init__(notes)
            note = self.notes / f"start-{self.gpu}"
            if not note.exists():
                note.touch()
                time.sleep(3600)

    limits = RetryLimits(delays=(0.1,), start_seconds=2.0)
    events = _events(tmp_path, Stuck, 4, limits)
    assert len(_of(Committed, events)) == 4
    assert any("not ready after 2 seconds" in event.message for event in _of(Notice, events))


def test_a_device_is_tried_before_it_gets_an_item(tmp_path: Path) -> None:
    class Proven(Work):
        environment: ClassVar = {"driver": "580.1"}

        def prove(self) -> None:
            if self.gpu == "0":
                raise BrokenDevice("CUDA error: unspecified launch failure")

    events = _events(tmp_path, Proven, 12)
    assert len(_of(Committed, events)) == 12
    assert not _of(Requeued, events), "no item was given to the bad device"


def test_the_notice_of_an_actor_s_work_is_reported_as_it_starts(tmp_path: Path) -> None:
    class Announced(Work):
        environment: ClassVar = {"driver": "580.1"}
        notice = "memory: 8 of 16 GiB free"

        def prove(self) -> None:
            pass

    events = _events(tmp_path, Announced, 4)
    messages = [event.message for event in _of(Notice, events)]
    assert any(message.startswith("memory: 8 of 16 GiB free (") for message in messages)
    commits = [event.commit for event in _of(Committed, events)]
    assert all("notice" not in commit.notes for commit in commits)
