"""The dispatcher with real Ray actors, and work that knows no captions."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from scanner.cluster import (
    BrokenDevice,
    Committed,
    Event,
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
from scanner.cluster.connection.starting import start_for
from scanner.cluster.dispatcher import dispatch
from scanner.errors import UserError
from scanner.run import Commits, Output, Run, Slice
from scanner.storage import Store
from tests.cluster.events import refuse_failures
from tests.local_ray import local_ray
from tests.waiting import wait_until

SLICES = [Slice(f"{number:06d}", "", "", "", 1) for number in range(6)]
TASKS = [Task(item) for item in SLICES]
# What is tested is which items are retried, not after how long.
QUICK = RetryLimits(delays=(0.1,))


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with local_ray():
        yield


class Work:
    """Notes each call in a folder; some slices fail or kill their process, some times."""

    def __init__(self, notes: str, fails: dict[str, int], kills: dict[str, int]) -> None:
        self.notes, self.fails, self.kills = Path(notes), fails, kills

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        calls = len(list(self.notes.glob(f"{item.id}-*")))
        (self.notes / f"{item.id}-{calls}").write_text(str(os.getpid()))
        if calls < self.fails.get(item.id, 0):
            raise ValueError(f"no luck with {item.id}")
        if calls < self.kills.get(item.id, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return item

    def finish(self, item: Slice) -> Result:
        return Result([Output("scores", pa.table({"caption_id": [item.id]}))])


def _events(
    tmp_path: Path, actors: int = 2, fails=None, kills=None, make=Work, limits=QUICK, **options
) -> Iterator[Event[Slice]]:
    notes = tmp_path / "notes"
    notes.mkdir(exist_ok=True)
    make_work = partial(make, str(notes), fails or {}, kills or {})
    resources = Resources(actors=actors, cpus=0.5, gpus=0)
    commits = Commits(Store(str(tmp_path / "run")), "commits", "f")
    options = {"in_flight": 3, "limits": limits, **options}
    return dispatch(commits, TASKS, make_work, resources, **options)


def _drive(tmp_path: Path, **options) -> tuple[Run, list[Event[Slice]]]:
    return Run(Store(str(tmp_path / "run"))), list(_events(tmp_path, **options))


def _undisturbed(events: Iterator[Event[Slice]]) -> Iterator[Event[Slice]]:
    for event in events:
        refuse_failures(event)
        yield event


def _quarantined(events: list[Event[Slice]]) -> list[Quarantined[Slice]]:
    return [event for event in events if isinstance(event, Quarantined)]


def test_every_item_is_committed_once_by_several_processes(tmp_path: Path) -> None:
    class Together(Work):
        def compute(self, item: Slice) -> Slice:
            done = super().compute(item)
            wait_until(lambda: len(self._processes()) == 2, "no other process has begun")
            return done

        def _processes(self) -> set[str]:
            return {note.read_text() for note in self.notes.iterdir()} - {""}

    events = _undisturbed(_events(tmp_path, make=Together))
    commits = [event.item.id for event in events if isinstance(event, Committed)]
    assert sorted(commits) == [item.id for item in SLICES]
    assert len({note.read_text() for note in (tmp_path / "notes").iterdir()}) == 2


def test_a_failing_item_is_retried_then_quarantined(
    tmp_path: Path,
) -> None:
    run, events = _drive(tmp_path, fails={"000001": 1, "000003": 99})
    assert sorted(run.commits.done()) == [item.id for item in SLICES if item.id != "000003"]
    (quarantined,) = _quarantined(events)
    assert quarantined.item.id == "000003"
    assert "no luck with 000003" in quarantined.reason
    assert quarantined.location.node


def test_a_killed_process_is_replaced_and_its_item_done(tmp_path: Path) -> None:
    run, events = _drive(tmp_path, kills={"000000": 1, "000002": 1})
    assert sorted(run.commits.done()) == [item.id for item in SLICES]
    assert sum(isinstance(event, Requeued) for event in events) >= 2


def test_work_that_cannot_be_made_ends_with_its_reason(tmp_path: Path) -> None:
    class Broken(Work):
        def __init__(self, *arguments) -> None:
            raise ValueError("no such weights")

    with pytest.raises(UserError, match="no such weights"):
        _drive(tmp_path, make=Broken)


def test_work_that_cannot_be_imported_ends_with_its_reason(tmp_path: Path) -> None:
    class Unknown:
        """As where a node lacks a library: it cannot be unpickled outside this process."""

        def __call__(self, *arguments) -> None: ...

        def __reduce__(self) -> tuple:
            return _refuse_elsewhere, (os.getpid(),)

    with pytest.raises(UserError, match=r"No module named 'unknown'.*tried 3 times"):
        _drive(tmp_path, actors=1, make=Unknown())


def _refuse_elsewhere(process: int) -> None:
    if os.getpid() != process:
        raise ModuleNotFoundError("No module named 'unknown'")


def test_an_item_that_kills_its_process_costs_no_other_item(tmp_path: Path) -> None:
    run, events = _drive(tmp_path, actors=1, kills={"000001": 99})
    assert sorted(run.commits.done()) == [item.id for item in SLICES if item.id != "000001"]
    (given_up,) = _quarantined(events)
    assert given_up.item.id == "000001"
    assert given_up.reason == "its process died: killed, as for lack of memory, or crashed"


def test_work_that_hangs_costs_only_its_own_item(tmp_path: Path) -> None:
    class Hangs(Work):
        def compute(self, item: Slice) -> Slice:
            if item.id == "000002":
                time.sleep(3600)
            return super().compute(item)

    # The second wait for an item that hung is twice as long.
    limits = replace(QUICK, attempts=2, hang_seconds=5.0)
    run, events = _drive(tmp_path, make=Hangs, limits=limits)
    assert sorted(run.commits.done()) == [item.id for item in SLICES if item.id != "000002"]
    (given_up,) = _quarantined(events)
    assert "no sign of life" in given_up.reason


def test_a_broken_device_means_a_new_process(tmp_path: Path) -> None:
    class Breaks(Work):
        def compute(self, item: Slice) -> Slice:
            first = not list(self.notes.glob("*"))
            super().compute(item)
            if first:
                raise BrokenDevice("CUDA error: an illegal memory access was encountered")
            return item

    run, _ = _drive(tmp_path, actors=1, make=Breaks)
    assert len(run.commits.done()) == len(SLICES)
    # A note is empty if its process ended between creating and writing it.
    processes = {note.read_text() for note in (tmp_path / "notes").iterdir()} - {""}
    assert len(processes) == 2


def test_an_outage_of_the_store_is_waited_for_uncounted(tmp_path: Path) -> None:
    class Away(Work):
        def prepare(self, item: Slice) -> Slice:
            tries = len(list(self.notes.glob("try-*")))
            (self.notes / f"try-{tries}-{time.time_ns()}").touch()
            if tries < 4:
                raise ConnectionRefusedError("the store is away")
            return item

    run, events = _drive(tmp_path, actors=1, make=Away)
    assert len(run.commits.done()) == len(SLICES)
    assert not _quarantined(events)


def test_uncollected_results_are_not_taken_for_a_hang(
    tmp_path: Path,
) -> None:
    paused = 0.0
    timing = Timing(now=lambda: time.monotonic() + paused)
    commits = tmp_path / "run" / "commits"
    for event in _undisturbed(_events(tmp_path, actors=1, timing=timing)):
        if isinstance(event, Committed) and not paused:
            # This actor has two more items, and does them while nobody asks for them.
            wait_until(lambda: len(list(commits.glob("*.json"))) >= 3, "the others are not done")
            paused = 2 * QUICK.hang_seconds
    assert paused


class Reporting(Work):
    """Each item takes a while, and tells how far it is."""

    def compute(self, item: Slice) -> Slice:
        for count in range(1, 9):
            report(count)
            time.sleep(0.1)
        return super().compute(item)


def test_ticks_say_how_much_of_an_item_is_computed(tmp_path: Path) -> None:
    timing = Timing(tick_seconds=0.1, report_seconds=0.1)
    seen: dict[str, list[int]] = {}
    for event in _events(tmp_path, actors=1, make=Reporting, fails={"000000": 1}, timing=timing):
        assert not isinstance(event, Quarantined)
        if isinstance(event, Requeued | Committed):
            assert isinstance(event, Committed) or "no luck with 000000" in event.reason
            seen[f"{event.item.id} before"] = seen.pop(event.item.id, [])
        elif isinstance(event, Tick):
            for name, count in event.running.items():
                seen.setdefault(name, []).append(count)
    for name, counts in seen.items():
        # Of every try from the start, never more than there is, and never backwards.
        assert counts == sorted(counts), name
        assert max(counts) <= 8, name
    assert max(seen["000001 before"]) > 1


def test_preparing_and_writing_overlap_computing(tmp_path: Path) -> None:
    class Overlapping(Work):
        """The first item computes until the second was prepared in the meantime, which then
        computes until the first was finished in the meantime."""

        def prepare(self, item: Slice) -> Slice:
            if item == SLICES[1]:
                self._await("compute 0 begins")
                self._note("prepare 1 ends")
            return item

        def compute(self, item: Slice) -> Slice:
            if item == SLICES[0]:
                self._note("compute 0 begins")
                self._await("prepare 1 ends")
            elif item == SLICES[1]:
                self._note("compute 1 begins")
                self._await("finish 0 ends")
            return item

        def finish(self, item: Slice) -> Result:
            if item == SLICES[0]:
                self._await("compute 1 begins")
                self._note("finish 0 ends")
            return super().finish(item)

        def _note(self, what: str) -> None:
            (self.notes / what).touch()

        def _await(self, what: str) -> None:
            wait_until((self.notes / what).exists, f"not yet: {what}")

    for _ in _undisturbed(_events(tmp_path, actors=1, make=Overlapping)):
        pass
    assert len(list((tmp_path / "notes").iterdir())) == 4


def test_an_item_committed_by_another_driver_is_not_redone(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    Commits(store).commit("000003", [Output("scores", pa.table({"x": [1]}))])
    _drive(tmp_path)
    assert not list((tmp_path / "notes").glob("000003-*"))


def test_an_actor_that_no_node_has_room_for_is_a_clear_error() -> None:
    start_for(Resources(actors=1, cpus=0.5, gpus=0), None)
    with pytest.raises(UserError, match="an actor takes 5000 CPUs and 0 GPUs"):
        start_for(Resources(actors=1, cpus=5000, gpus=0), None)
