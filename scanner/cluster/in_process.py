"""Run tasks one after another in the command's own process: no Ray, no second copy of a model.

For work so small that starting a cluster would take longer than the work itself.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic

from scanner.cluster.events import Committed, Event, ItemT, Location, Notice, Task, Tick
from scanner.cluster.failures import brief, is_broken_device, is_outage, traceback_of
from scanner.cluster.limits import DEFAULT_LIMITS, DEFAULT_TIMING, RetryLimits, Timing
from scanner.cluster.retry_policy import RetryPolicy
from scanner.cluster.work import Proving, Work, notice_of
from scanner.cluster.worker import commit_item, compute
from scanner.errors import UserError
from scanner.run import Commit, Commits
from scanner.storage.error_messages import storage_error_message


def run_in_process(
    commits: Commits,
    tasks: Sequence[Task[ItemT]],
    make_work: Callable[[], Work],
    on_event: Callable[[Event[ItemT]], None],
    *,
    limits: RetryLimits = DEFAULT_LIMITS,
    timing: Timing = DEFAULT_TIMING,
) -> None:
    """Run the tasks, with the retries, waits and commits of a pool.

    There is no other process for a retry, so any UserError is raised, as are errors of the store,
    the disk or the device that would affect every item. ``on_event`` is called by one thread at a
    time; the Ticks while an item is computed come from another one than the rest.
    """
    work = make_work()
    if notice := notice_of(work):
        on_event(Notice(notice))
    policy: RetryPolicy[ItemT] = RetryPolicy(limits, timing)
    waiting = deque(tasks)
    location = Location(
        "", os.uname().nodename, environment=work.environment if isinstance(work, Proving) else {}
    )
    with _Reporter[ItemT](on_event, location).ticking(timing.tick_seconds) as reporter:
        while waiting or policy.retry_queue:
            task = next(iter(policy.due()), None) or (waiting.popleft() if waiting else None)
            if task is None:
                time.sleep(min(timing.tick_seconds, limits.delays[0]))
                continue
            policy.take(task)
            try:
                commit = _run(commits, work, task, reporter)
            except UserError:
                raise
            except Exception as error:
                if is_outage(error):
                    reporter.send(policy.wait_for_store(task, brief(error), reporter.location))
                elif is_broken_device(error) or storage_error_message(error):
                    raise
                else:
                    failure = brief(error), reporter.location, traceback_of(error)
                    reporter.send(policy.record_failure(task, *failure))
            else:
                policy.end_outage()
                reporter.send(Committed(task.item, commit))


def _run(commits: Commits, work: Work, task: Task[ItemT], reporter: "_Reporter[ItemT]") -> Commit:
    item = task.item
    reporter.computed(item.id, 0)
    reporter.tick()
    return commit_item(
        commits,
        work,
        item,
        task.generation,
        lambda prepared: compute(work, prepared, lambda count: reporter.computed(item.id, count)),
    )


class _Reporter(Generic[ItemT]):
    """Hands events to ``on_event``, one at a time, and a Tick now and then."""

    def __init__(self, on_event: Callable[[Event[ItemT]], None], location: Location) -> None:
        self.location = location
        self._on_event = on_event
        self._running: dict[str, int] = {}
        self._lock = threading.Lock()
        self._error: Exception | None = None

    def computed(self, name: str, count: int) -> None:
        """Note how much of the running item is computed."""
        self._running = {name: count}

    def send(self, event: Event[ItemT]) -> None:
        """Hand over what has become of the running item."""
        self._running = {}
        self._send(event)

    def tick(self) -> None:
        self._send(Tick(dict(self._running), 1, placed=1))

    @contextlib.contextmanager
    def ticking(self, seconds: float) -> "Iterator[_Reporter[ItemT]]":
        """Send Ticks from a thread; what fails there is raised by the next event here."""
        stop = threading.Event()

        def tick() -> None:
            try:
                while not stop.wait(seconds):
                    self.tick()
            except Exception as error:
                self._error = error

        thread = threading.Thread(target=tick, daemon=True, name="progress")
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def _send(self, event: Event[ItemT]) -> None:
        with self._lock:
            if self._error:
                raise self._error
            self._on_event(event)
