"""A pool of Ray actors, each pinned to its share of a device, that works through items.

The pool knows nothing of captions or models: a command brings its work, a picklable factory that
is called once in each actor. What the work returns for an item is committed inside the actor, so
nothing large passes through the driver. Because the first commit of an item wins, running one
twice is always safe; retries belong to the driver. This is the driver's loop; the actors' coming
and going is in :mod:`scanner.cluster.crew`, whose fault a failure is in :mod:`.blame`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from scanner.cluster.resources import Resources  # first: it prepares the environment for ray

# isort: split
import ray
from ray.exceptions import RayError, RayTaskError

from scanner.cluster.blame import Blame
from scanner.cluster.crew import Actor, Crew
from scanner.cluster.events import Event, Task
from scanner.cluster.failures import brief, is_broken_device, is_outage, is_preemption
from scanner.cluster.work import Work
from scanner.run import Commits

FAILURES_IN_A_ROW = 2
IN_FLIGHT = 3
TICK_SECONDS = 1.0
REPORT_SECONDS = 2.0
HANG_SECONDS = 1800.0
HANG_FACTOR = 20.0


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
    an outage of the store, which is waited for. An actor that reports no progress for
    ``hang_seconds`` (or ``HANG_FACTOR`` times the longest item, if that is more) is replaced.

    A node with room for an actor is waited for. Raises UserError where actors cannot start or die
    more than ``RESTARTS`` times each without a commit in between, or where the store stays away
    for ``OUTAGE_SECONDS``.
    """
    crew = Crew(commits, make_work, resources, in_flight)
    pool = _Pool(tasks, crew, in_flight, hang_seconds)
    try:
        yield from pool.drive()
    finally:
        crew.close()


class _Pool:
    def __init__(
        self, tasks: Sequence[Task], crew: Crew, in_flight: int, hang_seconds: float
    ) -> None:
        self.waiting = deque(tasks)
        self.crew = crew
        self.blame = Blame()
        self.in_flight = in_flight
        self.hang_seconds, self.longest = hang_seconds, 0.0
        self.references: dict[Any, Actor] = {}

    def drive(self) -> Iterator[Event]:
        crew = self.crew
        while self.waiting or self.blame.suspects or self.references:
            yield from crew.fit(len(self.waiting) + len(self.blame.suspects) + len(self.references))
            for actor in crew.actors:
                self._feed(actor)
            pending = [*crew.starting, *self.references]
            if pending:
                done, _ = ray.wait(pending, timeout=TICK_SECONDS)
            else:
                done = []
                time.sleep(TICK_SECONDS)
            for reference in done:
                if reference in crew.starting:
                    yield from crew.started(reference)
                elif reference in self.references:
                    yield from self._finished(reference)
            self._hear_reports()
            yield from self._stop_hanging()
            crew.forgive(self.blame.forgive())
            running = {
                task.item.id: actor.computed.get(task.item.id, 0)
                for actor in crew.actors
                for task in actor.tasks.values()
            }
            yield Event("tick", running=running, actors=len(crew.actors))

    def _feed(self, actor: Actor) -> None:
        if actor.alone:
            return
        if not actor.tasks:
            suspect = self.blame.due()
            if suspect:
                actor.alone = True
                self._give(actor, suspect)
                return
        # What every other actor could take at once is not hoarded by this one.
        while len(actor.tasks) < self.in_flight and self.waiting:
            if actor.tasks and len(self.waiting) < len(self.crew.actors) + len(self.crew.starting):
                return
            self._give(actor, self.waiting.popleft())

    def _give(self, actor: Actor, task: Task) -> None:
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
            actor.in_a_row = 0
            self.crew.prospers()
            self.blame.outage_over()
            yield Event("commit", task.item, commit)

    def _settle(self, reference: Any, actor: Actor) -> Task:
        del self.references[reference]
        task = actor.tasks.pop(reference)
        actor.computed.pop(task.item.id, None)
        actor.alone, actor.moved = False, time.monotonic()
        return task

    def _failed(self, reference: Any, actor: Actor, error: RayTaskError) -> Iterator[Event]:
        task = self._settle(reference, actor)
        if is_outage(error):
            yield self.blame.wait_out(task, brief(error))
            return
        yield self.blame.count(task, brief(error))
        # Twice in a row may be the process's fault: a new one decides.
        actor.in_a_row += 1
        if is_broken_device(error) or actor.in_a_row >= FAILURES_IN_A_ROW:
            self.waiting.extendleft(self._retire(actor))
            self.crew.buried(brief(error))

    def _died(self, actor: Actor, error: Exception) -> Iterator[Event]:
        tasks = self._retire(actor)
        if is_preemption(error, actor.node):
            self.waiting.extendleft(tasks)
            self.crew.buried("", excused=True)
            yield Event("note", reason=f"a node was lost; {len(tasks)} slices go back in line")
            return
        self.blame.remember_death(actor.node, tasks)
        for task in tasks:
            yield self.blame.count(task, f"its process died: {brief(error)}")
        self.crew.buried(f"actors keep dying: {brief(error)}")

    def _hear_reports(self) -> None:
        """Ask each actor at work, every few seconds, what it has computed of its items."""
        asked = {actor.asked: actor for actor in self.crew.actors if actor.asked}
        done, _ = ray.wait([*asked], num_returns=len(asked), timeout=0) if asked else ([], [])
        for reference in done:
            actor = asked[reference]
            actor.asked = None
            try:
                reported = ray.get(reference)
            except RayError:
                continue  # of a process that has died: its tasks tell
            at_work = {task.item.id for task in actor.tasks.values()}
            kept = {name: count for name, count in reported.items() if name in at_work}
            if kept != actor.computed:
                actor.computed, actor.moved = kept, time.monotonic()
        now = time.monotonic()
        for actor in self.crew.actors:
            if actor.tasks and not actor.asked and now - actor.asked_at > REPORT_SECONDS:
                actor.asked, actor.asked_at = actor.handle.computed.remote(), now

    def _stop_hanging(self) -> Iterator[Event]:
        limit = max(self.hang_seconds, HANG_FACTOR * self.longest)
        for actor in list(self.crew.actors):
            if actor.tasks and time.monotonic() - actor.moved > limit:
                # A result that nobody has taken yet is progress: it was the reader who paused.
                if ray.wait(list(actor.tasks), timeout=TICK_SECONDS)[0]:
                    continue
                for task in self._retire(actor):
                    reason = f"no progress for {limit:.0f} seconds; its actor ends"
                    yield self.blame.count(task, reason)
                self.crew.buried("actors keep hanging")

    def _retire(self, actor: Actor) -> list[Task]:
        """Take an actor out of the pool; the tasks it had."""
        tasks = list(actor.tasks.values())
        for reference in actor.tasks:
            del self.references[reference]
        actor.tasks.clear()
        self.crew.retire(actor)
        return tasks
