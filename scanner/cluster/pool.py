"""A pool of Ray actors, each pinned to its share of a device, that works through items.

The pool knows nothing of captions or models: a command brings its work, a picklable factory that
is called once in each actor. What the work returns for an item is committed inside the actor, so
nothing large passes through the driver. Because the first commit of an item wins, running one
twice is always safe; retries belong to the driver.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from scanner.cluster.resources import Resources  # first: it prepares the environment for ray

# isort: split
import ray
from ray.exceptions import RayError, RayTaskError

from scanner.cluster.actor import Worker
from scanner.cluster.events import Event, Task
from scanner.cluster.failures import (
    brief,
    is_broken_device,
    is_outage,
    is_preemption,
    node_lives,
)
from scanner.cluster.work import Work
from scanner.errors import UserError
from scanner.run import Commits

ATTEMPTS = 3
RESTARTS = 5
FAILURES_IN_A_ROW = 2
IN_FLIGHT = 3
TICK_SECONDS = 1.0
DELAYS = (1.0, 3.0, 10.0, 30.0)
OUTAGE_SECONDS = 3600.0
JUDGED_SECONDS = 45.0
HANG_SECONDS = 1800.0
HANG_FACTOR = 20.0


@dataclass
class _Actor:
    handle: Any
    node: str = ""
    tasks: dict[Any, Task] = field(default_factory=dict)
    alone: bool = False
    in_a_row: int = 0
    moved: float = field(default_factory=time.monotonic)


def run_items(
    commits: Commits,
    tasks: Sequence[Task],
    make_work: Callable[[], Work],
    resources: Resources,
    in_flight: int = IN_FLIGHT,
    hang_seconds: float = HANG_SECONDS,
) -> Iterator[Event]:
    """Work through the tasks; yields an event for everything that happens, and once a second.

    At most ``in_flight`` items are in one actor, so that nothing piles up there. An item that
    fails ``ATTEMPTS`` times is given up (event ``quarantine``), the others go on; after its first
    failure it runs alone, so that no neighbour is blamed. Not counted are the loss of a node and
    an outage of the store, which is waited for. An actor that makes no progress for
    ``hang_seconds`` (or ``HANG_FACTOR`` times the longest item, if that is more) is replaced.

    A node with room for an actor is waited for. Raises UserError where actors cannot start or die
    more than ``RESTARTS`` times each without a commit in between, or where the store stays away
    for ``OUTAGE_SECONDS``.
    """
    pool = _Pool(commits, tasks, make_work, resources, in_flight, hang_seconds)
    try:
        yield from pool.drive()
    finally:
        pool.close()


class _Pool:
    def __init__(
        self,
        commits: Commits,
        tasks: Sequence[Task],
        make_work: Callable[[], Work],
        resources: Resources,
        in_flight: int,
        hang_seconds: float,
    ) -> None:
        self.waiting = deque(tasks)
        self.suspects: list[tuple[float, Task]] = []
        self.failures: dict[str, int] = {}
        self.blamed: list[tuple[float, str, list[str]]] = []
        self.in_flight = in_flight
        self.hang_seconds, self.longest = hang_seconds, 0.0
        self.resources = resources
        self.deaths = self.bad_starts = 0
        self.start_after = self.fitted_at = 0.0
        self.outage_since: float | None = None
        self.wanted = 0
        self.actors: list[_Actor] = []
        self.starting: dict[Any, _Actor] = {}
        self.references: dict[Any, _Actor] = {}
        remote: Any = ray.remote(Worker)
        actor = remote.options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=in_flight,
        )
        self._new = lambda: actor.remote(commits, make_work)

    def drive(self) -> Iterator[Event]:
        while self.waiting or self.suspects or self.references:
            yield from self._fit()
            for actor in self.actors:
                self._feed(actor)
            pending = [*self.starting, *self.references]
            if pending:
                done, _ = ray.wait(pending, timeout=TICK_SECONDS)
            else:
                done = []
                time.sleep(TICK_SECONDS)
            for reference in done:
                if reference in self.starting:
                    yield from self._started(reference)
                elif reference in self.references:
                    yield from self._finished(reference)
            yield from self._stop_hanging()
            self._forgive()
            running = tuple(task.item.id for a in self.actors for task in a.tasks.values())
            yield Event("tick", running=running, actors=len(self.actors))

    def close(self) -> None:
        for actor in [*self.actors, *self.starting.values()]:
            ray.kill(actor.handle)

    # -- actors join and leave --------------------------------------------------------------

    def _fit(self) -> Iterator[Event]:
        """Start actors up to what is wanted, fits and has work."""
        now = time.monotonic()
        if now - self.fitted_at > 5 * TICK_SECONDS or not self.fitted_at:
            self.fitted_at = now
            room = self.resources.fit()
            if room == 0 and not self.wanted:
                yield Event("note", reason=f"waiting for a node with room for {self._share()}")
            self.wanted = self.resources.actors or max(1, room)
        there = len(self.actors) + len(self.starting)
        work = len(self.waiting) + len(self.suspects) + len(self.references)
        if now < self.start_after:
            return
        for _ in range(min(self.wanted, work) - there):
            actor = _Actor(self._new())
            self.starting[actor.handle.ready.remote()] = actor

    def _share(self) -> str:
        return f"{self.resources.cpus:g} CPUs and {self.resources.gpus:g} GPUs an actor"

    def _started(self, reference: Any) -> Iterator[Event]:
        actor = self.starting.pop(reference)
        try:
            actor.node = ray.get(reference)
        except RayError as error:
            reason = f"an actor cannot start: {brief(error)}"
            yield Event("note", reason=reason)
            self.bad_starts += 1
            if self.bad_starts >= ATTEMPTS and not is_outage(error):
                raise UserError(
                    f"{reason} (tried {self.bad_starts} times); what is committed is safe: mend "
                    "the cause and run the same command again"
                ) from error
            self._buried(reason, excused=True)
        else:
            self.bad_starts = 0
            actor.moved = time.monotonic()
            self.actors.append(actor)

    def _retire(self, actor: _Actor) -> list[Task]:
        """Take an actor out of the pool; the tasks it had."""
        self.actors.remove(actor)
        tasks = list(actor.tasks.values())
        for reference in actor.tasks:
            del self.references[reference]
        actor.tasks.clear()
        ray.kill(actor.handle)
        return tasks

    def _buried(self, reason: str, excused: bool = False) -> None:
        """An actor is gone: another one starts after a while, if not too many have died."""
        self.start_after = time.monotonic() + DELAYS[min(self.deaths, len(DELAYS) - 1)]
        if excused:
            return
        self.deaths += 1
        if self.deaths > RESTARTS * max(1, self.wanted):
            raise UserError(
                f"{reason} (given up after {RESTARTS} restarts an actor); what is committed is "
                "safe: mend the cause and run the same command again"
            )

    # -- items --------------------------------------------------------------------------------

    def _feed(self, actor: _Actor) -> None:
        if actor.alone:
            return
        if not actor.tasks:
            due = next((pair for pair in self.suspects if pair[0] <= time.monotonic()), None)
            if due:
                self.suspects.remove(due)
                actor.alone = True
                self._give(actor, due[1])
                return
        # What every other actor could take at once is not hoarded by this one.
        while len(actor.tasks) < self.in_flight and self.waiting:
            if actor.tasks and len(self.waiting) < len(self.actors) + len(self.starting):
                return
            self._give(actor, self.waiting.popleft())

    def _give(self, actor: _Actor, task: Task) -> None:
        if not actor.tasks:
            actor.moved = time.monotonic()
        reference = actor.handle.do.remote(task.item, task.generation)
        actor.tasks[reference] = task
        self.references[reference] = actor

    def _finished(self, reference: Any) -> Iterator[Event]:
        actor = self.references[reference]
        try:
            commit = ray.get(reference)
        except RayTaskError as error:
            yield from self._failed(reference, actor, error)
        except RayError as error:
            yield from self._died(actor, error)
        else:
            task = self._settle(reference, actor)
            self.longest = max(self.longest, commit.seconds)
            actor.in_a_row = self.deaths = 0
            self.outage_since = None
            yield Event("commit", task.item, commit)

    def _settle(self, reference: Any, actor: _Actor) -> Task:
        del self.references[reference]
        task = actor.tasks.pop(reference)
        actor.alone, actor.moved = False, time.monotonic()
        return task

    def _failed(self, reference: Any, actor: _Actor, error: RayTaskError) -> Iterator[Event]:
        task = self._settle(reference, actor)
        if is_outage(error):
            yield self._wait_out(task, brief(error))
            return
        yield self._count(task, brief(error))
        # Twice in a row may be the process's fault: a new one decides.
        actor.in_a_row += 1
        if is_broken_device(error) or actor.in_a_row >= FAILURES_IN_A_ROW:
            self.waiting.extendleft(self._retire(actor))
            self._buried(brief(error))

    def _wait_out(self, task: Task, reason: str) -> Event:
        now = time.monotonic()
        self.outage_since = self.outage_since or now
        if now - self.outage_since > OUTAGE_SECONDS:
            raise UserError(
                f"the store has not answered for {OUTAGE_SECONDS / 60:.0f} minutes ({reason}); "
                "what is committed is safe: run the same command again when it does"
            )
        self.suspects.append((now + DELAYS[1], task))
        return Event("retry", task.item, reason=f"the store does not answer: {reason}")

    def _died(self, actor: _Actor, error: Exception) -> Iterator[Event]:
        tasks = self._retire(actor)
        if is_preemption(error, actor.node):
            self.waiting.extendleft(tasks)
            self._buried("", excused=True)
            yield Event("note", reason=f"a node was lost; {len(tasks)} slices go back in line")
            return
        self.blamed.append((time.monotonic(), actor.node, [task.item.id for task in tasks]))
        for task in tasks:
            yield self._count(task, f"its process died: {brief(error)}")
        self._buried(f"actors keep dying: {brief(error)}")

    def _forgive(self) -> None:
        """Ray may learn only later that a process died with its node: then it does not count."""
        for entry in list(self.blamed):
            since, node, items = entry
            if not node_lives(node):
                self.deaths = max(0, self.deaths - 1)
                for item in items:
                    self.failures[item] = max(0, self.failures.get(item, 0) - 1)
            elif time.monotonic() - since < JUDGED_SECONDS:
                continue
            self.blamed.remove(entry)

    def _count(self, task: Task, reason: str) -> Event:
        item = task.item
        self.failures[item.id] = self.failures.get(item.id, 0) + 1
        if self.failures[item.id] < ATTEMPTS:
            delay = DELAYS[self.failures[item.id] - 1]
            self.suspects.append((time.monotonic() + delay, task))
            return Event("retry", item, reason=reason)
        return Event("quarantine", item, reason=reason)

    def _stop_hanging(self) -> Iterator[Event]:
        limit = max(self.hang_seconds, HANG_FACTOR * self.longest)
        for actor in list(self.actors):
            if actor.tasks and time.monotonic() - actor.moved > limit:
                for task in self._retire(actor):
                    yield self._count(task, f"no progress for {limit:.0f} seconds; its actor ends")
                self._buried("actors keep hanging")
