"""Run tasks one after another in the command's own process: no Ray, no second copy of a model.

For work so small that starting a cluster would take longer than the work itself.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from scanner.cluster.events import Committed, Event, ItemT, Location, Task, Tick
from scanner.cluster.failures import brief, is_broken_device, is_outage
from scanner.cluster.limits import DEFAULT_LIMITS, DEFAULT_TIMING, RetryLimits, Timing
from scanner.cluster.retry_policy import RetryPolicy
from scanner.cluster.work import Work
from scanner.cluster.worker import commit_item, compute
from scanner.errors import UserError
from scanner.run import Commits
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

    There is no other process to try again in: an error of the store, the disk or the device that
    would meet every item, and any UserError, is raised. A Tick follows each report of the work,
    one per second at most.
    """
    work = make_work()
    runner = _Runner(commits, work, on_event, timing)
    policy: RetryPolicy[ItemT] = RetryPolicy(limits, timing)
    waiting = deque(tasks)
    while waiting or policy.retry_queue:
        task = policy.pop_due() or (waiting.popleft() if waiting else None)
        if task is None:
            runner.tick({})
            time.sleep(min(timing.tick_seconds, limits.delays[0]))
            continue
        try:
            commit = runner.run(task)
        except UserError:
            raise
        except Exception as error:
            if is_outage(error):
                on_event(policy.wait_for_store(task, brief(error), runner.location))
            elif is_broken_device(error) or storage_error_message(error):
                raise
            else:
                on_event(policy.record_failure(task, brief(error), runner.location))
        else:
            policy.end_outage()
            on_event(Committed(task.item, commit))


class _Runner:
    def __init__(
        self,
        commits: Commits,
        work: Work,
        on_event: Callable[[Any], None],
        timing: Timing,
    ) -> None:
        self.commits, self.work, self.on_event, self.timing = commits, work, on_event, timing
        self.location = Location("", os.uname().nodename)
        self._ticked_at: float | None = None

    def run(self, task: Task[Any]) -> Any:
        item = task.item
        self.tick({item.id: 0})

        def on_report(count: int) -> None:
            self.tick({item.id: count})

        return commit_item(
            self.commits,
            self.work,
            item,
            task.generation,
            lambda prepared: compute(self.work, prepared, on_report),
        )

    def tick(self, running: dict[str, int]) -> None:
        """Send a Tick, if the last one is long enough ago."""
        now = self.timing.now()
        if self._ticked_at is None or now - self._ticked_at > self.timing.tick_seconds:
            self._ticked_at = now
            self.on_event(Tick(running, 1))
