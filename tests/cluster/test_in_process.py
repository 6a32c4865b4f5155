"""Execution in the command's own process: the rules of a pool, without Ray."""

import json
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scanner.cluster import (
    BrokenDevice,
    Committed,
    Event,
    Execution,
    InProcess,
    Notice,
    Outcome,
    Quarantined,
    Requeued,
    Resources,
    Result,
    RetryLimits,
    Started,
    Task,
    Tick,
    Timing,
    execute,
    report,
)
from scanner.cluster.in_process import run_in_process
from scanner.errors import UserError
from scanner.run import Commits, Output, Run, Slice
from scanner.storage import Store
from tests.forking import FORKED, forking_python
from tests.waiting import wait_until

SLICES = [Slice(f"{number:06d}", "", "", "", 1) for number in range(4)]
HERE = InProcess[Slice](lambda _: True)
EXECUTION = Execution(limits=RetryLimits(delays=(0.01,)), timing=Timing(tick_seconds=0.01))


class Work:
    """Raises the errors of each slice in turn, then makes its table."""

    def __init__(self, errors: dict[str, list[BaseException]]) -> None:
        self.errors = errors

    def prepare(self, item: Slice) -> Slice:
        return item

    def compute(self, item: Slice) -> Slice:
        if self.errors.get(item.id):
            raise self.errors[item.id].pop(0)
        return item

    def finish(self, item: Slice) -> Result:
        return Result([Output("scores", pa.table({"caption_id": [item.id]}))])


def run(
    folder: Path, errors: dict[str, list[BaseException]] | None = None, **options: Any
) -> tuple[Outcome, list[Event[Slice]]]:
    events: list[Event[Slice]] = []
    outcome = execute(
        Commits(Store(str(folder))),
        SLICES,
        lambda: Work(errors or {}),
        Resources(1, 1.0, 0.0),
        **{"in_process": HERE, "execution": EXECUTION, "on_event": events.append, **options},
    )
    return outcome, events


def test_every_item_is_committed_and_reported(tmp_path: Path) -> None:
    outcome, events = run(tmp_path)
    assert outcome == Outcome(4, {})
    assert events[0] == Started(tuple(SLICES), in_process=True)
    committed = [event.item for event in events if isinstance(event, Committed)]
    assert committed == SLICES
    assert run(tmp_path) == (Outcome(0, {}), [Started((), False)])


def test_the_notice_of_the_work_is_reported_first(tmp_path: Path) -> None:
    class Announced(Work):
        notice = "memory: 8 of 16 GiB free"

    events: list[Event[Slice]] = []
    commits = Commits(Store(str(tmp_path)))
    run_in_process(commits, [Task(SLICES[0])], lambda: Announced({}), events.append)
    assert events[0] == Notice(Announced.notice)
    assert isinstance(events[-1], Committed)


def test_ticks_say_how_much_of_an_item_is_computed(tmp_path: Path) -> None:
    events: list[Event[Slice]] = []

    class Slow(Work):
        def compute(self, item: Slice) -> Slice:
            report(7)
            wait_until(
                lambda: Tick({item.id: 7}, 1, placed=1) in events, "no tick while it computes"
            )
            return item

    commits = Commits(Store(str(tmp_path)))
    run_in_process(
        commits, [Task(SLICES[0])], lambda: Slow({}), events.append, timing=EXECUTION.timing
    )
    assert isinstance(events[-1], Committed)


def test_an_error_in_reporting_a_tick_ends_the_execution(tmp_path: Path) -> None:
    def on_event(event: Event[Slice]) -> None:
        if isinstance(event, Tick) and threading.current_thread().name == "progress":
            raise OSError("progress.json cannot be written")

    class Slow(Work):
        def compute(self, item: Slice) -> Slice:
            wait_until(lambda: not _reports(), "the thread has not ended")
            return item

    def _reports() -> bool:
        return any(thread.name == "progress" for thread in threading.enumerate())

    with pytest.raises(OSError, match="cannot be written"):
        run_in_process(
            Commits(Store(str(tmp_path))),
            [Task(SLICES[0])],
            lambda: Slow({}),
            on_event,
            timing=EXECUTION.timing,
        )


def test_a_failed_item_is_retried_then_quarantined(tmp_path: Path) -> None:
    errors: dict[str, list[BaseException]] = {
        "000001": [ValueError("once")],
        "000002": [ValueError("always")] * 9,
    }
    outcome, events = run(tmp_path, errors)
    assert outcome == Outcome(3, {"000002": "ValueError: always"})
    requeued = [event.item.id for event in events if isinstance(event, Requeued)]
    assert sorted(requeued) == ["000001", "000002", "000002"]
    assert sum(isinstance(event, Quarantined) for event in events) == 1


def test_an_outage_of_the_store_counts_for_nothing(tmp_path: Path) -> None:
    outcome, events = run(tmp_path, {"000000": [ConnectionError("away")] * 5})
    assert outcome == Outcome(4, {})
    assert sum(isinstance(event, Requeued) for event in events) == 5
    away = {"000000": [ConnectionError("away")] * 9}
    limits = RetryLimits(delays=(0.01,), outage_seconds=0.0)
    with pytest.raises(UserError, match=r"not answered .*ConnectionError: away"):
        run(tmp_path / "b", away, execution=Execution(limits=limits))


@pytest.mark.parametrize(
    "error",
    [
        UserError("a wrong option"),
        OSError(28, "No space left on device"),
        BrokenDevice("CUDA error"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_meet_every_item_is_raised_at_once(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        run(tmp_path, {"000001": [error]})
    assert [*Commits(Store(str(tmp_path))).done()] == ["000000"]
    assert run(tmp_path)[0] == Outcome(3, {}), "the same call resumes"


def test_a_repair_needs_a_commit_of_the_next_generation(tmp_path: Path) -> None:
    run(tmp_path)
    outcome, events = run(tmp_path, generations={"000003": 1})
    assert outcome.done == 1
    assert events[0] == Started((SLICES[3],), in_process=True)
    assert Commits(Store(str(tmp_path))).done()["000003"] == 1


WITHOUT_RAY = f"""{FORKED}
import sys
from jobs.cli import main
sys.argv = ["memscan", *sys.argv[1:]]
status = main()
print(sorted(name for name in ("ray", "grpc") if name in sys.modules))
sys.exit(status)
"""


def test_a_small_scan_does_not_import_ray(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption\na red cat\na blue dog\n")
    words = ("scan", "--model", "testbed", "--captions", str(tmp_path / "a.csv"))
    command = [forking_python(), "-c", WITHOUT_RAY, *words, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "in this process" in done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def test_a_small_scan_that_is_stopped_resumes(sent: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption\n" + "".join(f"a red cat {n}\n" for n in range(6)))
    out = tmp_path / "run"
    words = ("scan", "--model", "testbed", "--captions", str(tmp_path / "a.csv"), "--out", str(out))
    words = (*words, "--profile", "trajectory", "--steps", "10", "--slice-captions", "1")
    command = [forking_python(), "-c", WITHOUT_RAY, *words]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    commits = out / "commits"
    wait_until(  # a commit that is still being written has a temporary name, and is not matched
        lambda: any(commits.glob("[!.]*.json")) or driver.poll() is not None,
        "nothing is committed",
    )
    driver.send_signal(sent)
    stdout, stderr = driver.communicate(timeout=120)
    assert driver.returncode == 130, stderr
    assert stderr.endswith("memscan: stopped; rerun the same command to resume\n")
    assert stdout.splitlines() == ["[]"]
    assert json.loads((out / "progress.json").read_text())["running"] == {}
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"resuming: [1-5] of 6 slices are committed", done.stderr)
    assert Run.existing(str(out)).is_finished()
