"""Hand tasks to the actors of a pool, and decide what becomes of those that fail.

Each actor is pinned to its share of a device. What its work returns for an item is committed in
the actor, so nothing large passes through the driver. Because the first commit of an item wins,
running one twice is always safe; retries belong to the driver.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic

import ray
from ray.exceptions import RayError, RayTaskError

from scanner.cluster.actor_pool import Actor, ActorPool
from scanner.cluster.connection.resources import Resources
from scanner.cluster.events import Committed, Event, ItemT, Location, Notice, Task, Tick
from scanner.cluster.failures import (
    BROKEN_DEVICE,
    NODE_LOST,
    PROCESS_DIED,
    brief,
    cause_of,
    is_node_alive,
    is_outage,
    is_preemption,
    kind_of,
    traceback_of,
)
from scanner.cluster.heartbeat import Pulse
from scanner.cluster.limits import DEFAULT_LIMITS, DEFAULT_TIMING, RetryLimits, Timing
from scanner.cluster.retry_policy import RetryPolicy
from scanner.cluster.work import Work
from scanner.run import Commits

MOST_QUEUED = 64


def dispatch(
    commits: Commits,
    tasks: Sequence[Task[ItemT]],
    make_work: Callable[[], Work],
    resources: Resources,
    *,
    in_flight: int,
    limits: RetryLimits = DEFAULT_LIMITS,
    timing: Timing = DEFAULT_TIMING,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Event[ItemT]]:
    """Run the tasks on a pool of actors; yields an event for everything that happens, and a Tick
    per second.

    At most ``in_flight`` items run in one actor, and as many more are queued there as make about
    ``queue_seconds`` of work. An item that fails too often is quarantined and the others are still
    done; after its first failure it runs alone in its actor, so that it takes no neighbor with it,
    and on another device if there is one (see :mod:`scanner.cluster.fault_tracker`). Not counted
    are the loss of a node and an outage of the store, which is waited for. An actor that hangs is
    replaced.

    A node with room for an actor is waited for. Raises UserError where actors cannot start or die
    too often (see :class:`RetryLimits`), or where the store stays away. ``tags``: of the metrics.
    """
    pool: ActorPool[ItemT] = ActorPool(
        commits, make_work, resources, in_flight, limits, timing, tags
    )
    dispatcher = Dispatcher(tasks, pool, in_flight, limits, timing)
    try:
        yield from dispatcher.events()
    finally:
        pool.close()


class Dispatcher(Generic[ItemT]):
    """``waiting``: tasks for any actor; ``references``: the actor of each running task."""

    def __init__(
        self,
        tasks: Sequence[Task[ItemT]],
        pool: ActorPool[ItemT],
        in_flight: int,
        limits: RetryLimits,
        timing: Timing,
    ) -> None:
        self.waiting = deque(tasks)
        self.pool = pool
        self.policy: RetryPolicy[ItemT] = RetryPolicy(limits, timing)
        self.faults = pool.faults
        self.in_flight, self.limits, self.timing = in_flight, limits, timing
        self.slowest = 0.0
        self.references: dict[Any, Actor[ItemT]] = {}

    def events(self) -> Iterator[Event[ItemT]]:
        """Run to the end, yielding what happens."""
        pool, retry_queue = self.pool, self.policy.retry_queue
        while self.waiting or retry_queue or self.references:
            yield from pool.fit(len(self.waiting) + len(retry_queue) + len(self.references))
            self._retry()
            for actor in pool.actors:
                self._feed(actor)
            for reference in self._wait():
                if reference in pool.starting:
                    yield from pool.finish_start(reference)
                elif reference in self.references:
                    yield from self._finish(reference)
            self._collect_reports()
            yield from self._stop_hanging()
            pool.discount_lost_nodes(self.policy.discount_lost_nodes(is_node_alive))
            running = {
                task.item.id: actor.pulse.computed.get(task.item.id, 0)
                for actor in pool.actors
                for task in self._begun(actor)
            }
            out = tuple(self.faults.out_of_service.values())
            yield Tick(running, len(pool.actors), out, pool.placed)

    def _wait(self) -> list[Any]:
        """Return the references that are done, after a tick at most."""
        pending = [*self.pool.starting, *self.references]
        if not pending:
            time.sleep(self.timing.tick_seconds)
            return []
        ray.wait(pending, timeout=self.timing.tick_seconds)
        return ray.wait(pending, num_returns=len(pending), timeout=0)[0]

    def _retry(self) -> None:
        """Give each item that failed an actor for itself, which first ends what it has."""
        places = self.pool.places
        for actor in self.pool.actors:
            actor.is_reserved = False
        for task in self.policy.due():
            suitable = [
                actor
                for actor in self.pool.actors
                if not (actor.retries or actor.is_reserved)
                and self.faults.may_retry(
                    task.item.id, actor.location.place, places, bool(self.waiting)
                )
            ]
            if not suitable:
                continue
            actor = min(suitable, key=lambda one: len(one.tasks))
            actor.is_reserved = True
            if not actor.tasks:
                self.policy.take(task)
                actor.retries = True
                self._assign(actor, task)

    def _feed(self, actor: Actor[ItemT]) -> None:
        if actor.retries or actor.is_reserved:
            return
        # Leave what every other actor could take at once.
        others = len(self.pool.actors) + len(self.pool.starting)
        while len(actor.tasks) < self._depth(actor, others) and self.waiting:
            if actor.tasks and len(self.waiting) < others:
                return
            self._assign(actor, self.waiting.popleft())

    def _depth(self, actor: Actor[ItemT], others: int) -> int:
        """Return how many items an actor may have: a minute of work, and no more than its share."""
        share = -(-(len(self.waiting) + len(self.references)) // max(1, others))
        if not actor.seconds:
            return self.in_flight
        queued = min(MOST_QUEUED, int(self.limits.queue_seconds / actor.seconds))
        return max(self.in_flight, min(queued, share))

    def _begun(self, actor: Actor[ItemT]) -> list[Task[ItemT]]:
        """Return the tasks that an actor may have begun: it takes them in their order."""
        return list(actor.tasks.values())[: self.in_flight]

    def _assign(self, actor: Actor[ItemT], task: Task[ItemT]) -> None:
        if not actor.tasks:
            actor.pulse, actor.pulse_at = Pulse(), self.timing.now()
        reference = actor.handle.run.remote(task.item, task.generation)
        actor.tasks[reference] = task
        self.references[reference] = actor

    def _finish(self, reference: Any) -> Iterator[Event[ItemT]]:
        actor = self.references[reference]
        try:
            commit = ray.get(reference)
        except RayTaskError as error:
            yield from self._handle_failure(reference, actor, error)
        except RayError as error:
            yield from self._handle_death(actor, error)
        else:
            task = self._release(reference, actor)
            actor.seconds = commit.seconds
            actor.consecutive_failures = 0
            self.pool.reset_failures()
            self.policy.end_outage()
            suspects = self.faults.record_success(task.item.id, actor.location)
            yield Committed(task.item, commit)
            for location in suspects:
                yield from self._take_out(location, "items that failed there succeeded elsewhere")

    def _release(self, reference: Any, actor: Actor[ItemT]) -> Task[ItemT]:
        """Take a task that has ended from its actor."""
        del self.references[reference]
        task = actor.tasks.pop(reference)
        actor.retries, actor.pulse_at = False, self.timing.now()
        return task

    def _handle_failure(
        self, reference: Any, actor: Actor[ItemT], error: RayTaskError
    ) -> Iterator[Event[ItemT]]:
        task, cause, reason = self._release(reference, actor), cause_of(error), brief(error)
        if is_outage(cause):
            yield self.policy.wait_for_store(task, reason, actor.location)
            return
        kind = kind_of(cause)
        is_broken = kind == BROKEN_DEVICE
        if self.faults.record_failure(task.item.id, actor.location, is_broken=is_broken):
            failure = reason, actor.location, traceback_of(error), kind
            yield self.policy.record_failure(task, *failure)
        else:
            yield self.policy.requeue(task, reason, actor.location, kind)
        # Several in a row may be the process's fault: a new one decides.
        actor.consecutive_failures += 1
        if is_broken or actor.consecutive_failures >= self.limits.consecutive_failures:
            self._requeue(self._retire(actor))
            self.pool.record_loss(reason)
        yield from self._take_out(actor.location, reason)

    def _take_out(self, location: Location, reason: str) -> Iterator[Event[ItemT]]:
        """Take a device out of service if it is at fault; its actors end."""
        if not self.faults.take_out(location, self.pool.places, reason):
            return
        yield Notice(f"out of service: {location.name}: {reason}")
        for actor in list(self.pool.actors):
            if self.faults.is_out(actor.location):
                self._requeue(self._retire(actor))

    def _handle_death(self, actor: Actor[ItemT], error: Exception) -> Iterator[Event[ItemT]]:
        begun = self._begun(actor)
        tasks = self._retire(actor)
        if is_preemption(error, actor.location.node):
            self._requeue(tasks)
            self.pool.record_loss("", uncounted=True)
            message = f"a node was lost; {len(tasks)} items requeued"
            yield Notice(message, NODE_LOST, actor.location)
            return
        self._requeue([task for task in tasks if task not in begun])
        self.policy.record_death(actor.location.node, begun)
        for task in begun:
            reason = f"its process died: {brief(error)}"
            self.faults.record_failure(task.item.id, actor.location, is_alone=len(begun) == 1)
            yield self.policy.record_failure(task, reason, actor.location, cause=PROCESS_DIED)
        self.pool.record_loss(f"actors keep dying: {brief(error)}")

    def _requeue(self, tasks: list[Task[ItemT]]) -> None:
        self.waiting.extendleft(reversed(tasks))

    def _collect_reports(self) -> None:
        """Ask each working actor, every few seconds, for its pulse."""
        requested = {actor.report: actor for actor in self.pool.actors if actor.report}
        done: list[Any] = []
        if requested:
            done, _ = ray.wait([*requested], num_returns=len(requested), timeout=0)
        for reference in done:
            actor = requested[reference]
            actor.report = None
            try:
                pulse = ray.get(reference)
            except RayError:
                continue  # its process has died, which its tasks will show
            actor.pulse, actor.pulse_at = pulse, self.timing.now()
            self.slowest = max(self.slowest, pulse.slowest)
        now = self.timing.now()
        for actor in self.pool.actors:
            is_due = now - actor.report_at > self.timing.report_seconds
            if actor.tasks and not actor.report and is_due:
                actor.report, actor.report_at = actor.handle.pulse.remote(), now

    def _stop_hanging(self) -> Iterator[Event[ItemT]]:
        for actor in list(self.pool.actors):
            begun = self._begun(actor)
            limit = max(self.limits.hang_seconds, self.limits.hang_factor * self.slowest)
            limit *= self.policy.patience(begun)
            unheard = self.timing.now() - actor.pulse_at - 2 * self.timing.report_seconds
            if not begun or max(actor.pulse.silent, unheard) <= limit:
                continue
            # A result that nobody has collected is progress: it was the reader who paused.
            if ray.wait(list(actor.tasks), timeout=self.timing.tick_seconds)[0]:
                continue
            self._requeue([task for task in self._retire(actor) if task not in begun])
            for task in begun:
                reason = f"no sign of life for {limit:.0f} seconds; its actor ends"
                self.faults.record_failure(task.item.id, actor.location, is_alone=len(begun) == 1)
                yield self.policy.record_hang(task, reason, actor.location)
            self.pool.record_loss("actors keep hanging")

    def _retire(self, actor: Actor[ItemT]) -> list[Task[ItemT]]:
        """Take an actor out of the pool; return the tasks it had."""
        tasks = list(actor.tasks.values())
        for reference in actor.tasks:
            del self.references[reference]
        actor.tasks.clear()
        self.pool.retire(actor)
        return tasks
