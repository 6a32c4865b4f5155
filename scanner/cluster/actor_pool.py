"""The actors of an execution: as many as are wanted, have work, and fit on the cluster."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic

import ray
from ray.exceptions import RayError

from scanner.cluster.actor import REPORTS, WorkActor
from scanner.cluster.connection.resources import Resources
from scanner.cluster.events import NOWHERE, ItemT, Location, Notice, Place, Task
from scanner.cluster.failures import (
    NODE_LOST,
    START,
    STORE_OUTAGE,
    brief,
    cause_of,
    is_broken_device,
    is_node_alive,
    is_outage,
    is_preemption,
)
from scanner.cluster.fault_tracker import FaultTracker
from scanner.cluster.heartbeat import Pulse
from scanner.cluster.limits import RetryLimits, Timing
from scanner.cluster.work import Work
from scanner.errors import UserError
from scanner.run import Commits

RERUN = "what is committed is safe: fix the cause and rerun the same command"


@dataclass
class Actor(Generic[ItemT]):
    """One process and its tasks, by Ray's reference.

    starts_at: when it may begin to start, once it has been placed; began_at: when it did.
    retries: its only task has failed before; is_reserved: it waits for such a task, and gets no
    other first. pulse, pulse_at: what it last reported, and when; report, report_at: the request
    under way. seconds: of its last item.
    """

    handle: Any
    location: Location = NOWHERE
    starts_at: float = 0.0
    began_at: float | None = None
    tasks: dict[Any, Task[ItemT]] = field(default_factory=dict)
    retries: bool = False
    is_reserved: bool = False
    consecutive_failures: int = 0
    pulse: Pulse = field(default_factory=Pulse)
    pulse_at: float = 0.0
    report: Any = None
    report_at: float = 0.0
    seconds: float | None = None


class ActorPool(Generic[ItemT]):
    """Starts and retires actors; aborts where nothing is alive and nothing can start.

    An actor is placed by Ray, and starts (makes its work and tries its device) once its node has
    waited out earlier failed starts. One that was placed on what is out of service is kept without
    work, so that Ray does not place another one there.

    ``actors`` are ready for work; ``starting``, by the reference of their placement or start, not
    yet; ``held`` wait for their node. ``tags``: of the actors' metrics.
    """

    def __init__(
        self,
        commits: Commits,
        make_work: Callable[[], Work],
        resources: Resources,
        in_flight: int,
        limits: RetryLimits,
        timing: Timing,
        tags: Mapping[str, str] | None = None,
        faults: FaultTracker | None = None,
    ) -> None:
        self.actors: list[Actor[ItemT]] = []
        self.starting: dict[Any, Actor[ItemT]] = {}
        self.held: list[Actor[ItemT]] = []
        self.faults = faults or FaultTracker(limits)
        self._parked: list[Actor[ItemT]] = []
        self._resources, self._limits, self._timing = resources, limits, timing
        self._wanted = self._deaths = self._unplaced = 0
        self._start_after = 0.0
        self._node_starts_after: dict[str, float] = {}
        self._outage_since: float | None = None
        self._last_failure: tuple[str, int] | None = None
        self._fitted_at: float | None = None
        # Reports have a separate thread, since queued items take all others.
        remote: Any = ray.remote  # its types do not know the option
        actor = remote(concurrency_groups={REPORTS: 1})(WorkActor).options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=in_flight,
        )
        pickled = ray.cloudpickle.dumps(make_work)
        self._new = lambda: actor.remote(commits, pickled, dict(tags or {}))

    @property
    def places(self) -> set[Place]:
        """The devices of the actors that are ready."""
        return {actor.location.place for actor in self.actors}

    @property
    def placed(self) -> int:
        """Number of actors that hold their CPUs and GPUs, ready or not."""
        loading = sum(actor.began_at is not None for actor in self.starting.values())
        return len(self.actors) + loading + len(self.held) + len(self._parked)

    def close(self) -> None:
        """End all processes."""
        for actor in [*self.actors, *self.starting.values(), *self.held, *self._parked]:
            ray.kill(actor.handle)

    def fit(self, items: int) -> Iterator[Notice]:
        """Start actors up to the number that is wanted, fits, and has one of ``items`` each.

        Raises UserError if none is left and none can start.
        """
        now = self._timing.now()
        if self._fitted_at is None or now - self._fitted_at > self._timing.fit_seconds:
            self._fitted_at = now
            self._parked = [one for one in self._parked if is_node_alive(one.location.node)]
            room = self._resources.fit()
            if room == 0 and not self._wanted:
                yield Notice(f"waiting for a node with room for {self._share()}")
            self._wanted = self._resources.actors or max(1, room - len(self._parked))
        self._check_any_can_start()
        yield from self._stop_slow_starts()
        for held in [one for one in self.held if one.starts_at <= now]:
            self.held.remove(held)
            self._start(held)
        if now < self._start_after:
            return
        existing = len(self.actors) + len(self.starting) + len(self.held)
        for _ in range(min(self._wanted, items) - existing):
            actor: Actor[ItemT] = Actor(self._new())
            self.starting[actor.handle.location.remote()] = actor

    def finish_start(self, reference: Any) -> Iterator[Notice]:
        """Take in an actor that has been placed, or whose start has ended, well or not."""
        actor = self.starting.pop(reference)
        try:
            result = ray.get(reference)
        except RayError as error:
            yield self._fail_start(actor, error)
            return
        if actor.began_at is None:
            actor.location = result
            self._admit(actor)
            return
        environment, notice = result
        actor.location = replace(actor.location, environment=environment)
        if notice:
            yield Notice(f"{notice} ({actor.location.name})")
        self.faults.record_start(actor.location)
        self._node_starts_after.pop(actor.location.node, None)
        self._last_failure = self._outage_since = None
        self._unplaced = 0
        actor.pulse_at = self._timing.now()
        self.actors.append(actor)

    def retire(self, actor: Actor[ItemT]) -> None:
        """Take an actor out and end its process."""
        self.actors.remove(actor)
        ray.kill(actor.handle)

    def record_loss(self, reason: str, uncounted: bool = False) -> None:
        """Note that an actor is gone; another one may start after a delay.

        Raises UserError with ``reason`` if too many have died, unless this one is ``uncounted``.
        """
        self._start_after = self._timing.now() + self._limits.delay(self._deaths + 1)
        if uncounted:
            return
        self._deaths += 1
        if self._deaths > self._limits.restarts * max(1, self._wanted):
            raise UserError(
                f"{reason} (given up after {self._limits.restarts} restarts per actor); {RERUN}"
            )

    def discount_lost_nodes(self, deaths: int) -> None:
        """Take back so many deaths, which were their nodes'."""
        self._deaths = max(0, self._deaths - deaths)

    def reset_failures(self) -> None:
        """Forget earlier deaths, since there was a commit."""
        self._deaths = 0

    def _admit(self, actor: Actor[ItemT]) -> None:
        """Start an actor that has been placed, now or later, or keep the place free of work."""
        if self.faults.is_out(actor.location):
            self._parked.append(actor)
            self._fitted_at = None
            return
        actor.starts_at = self._node_starts_after.get(actor.location.node, 0.0)
        if actor.starts_at > self._timing.now():
            self.held.append(actor)
            return
        self._start(actor)

    def _start(self, actor: Actor[ItemT]) -> None:
        actor.began_at = self._timing.now()
        self.starting[actor.handle.start.remote()] = actor

    def _fail_start(self, actor: Actor[ItemT], error: RayError) -> Notice:
        ray.kill(actor.handle)
        if is_preemption(error, actor.location.node):
            self.record_loss("", uncounted=True)
            message = "a node was lost before its actor was ready"
            return Notice(message, NODE_LOST, actor.location)
        reason, cause = brief(error), cause_of(error)
        if is_outage(cause):
            return self._wait_out(actor, reason)
        return self._book_failed_start(actor, reason, is_broken_device(cause))

    def _wait_out(self, actor: Actor[ItemT], reason: str) -> Notice:
        """Start again later, since a hub or store does not answer. Raises UserError after
        ``outage_seconds``."""
        now = self._timing.now()
        self._outage_since = self._outage_since or now
        if now - self._outage_since > self._limits.outage_seconds:
            raise UserError(
                f"no actor could start for {self._limits.outage_seconds / 60:.0f} minutes, since a "
                f"hub or store does not answer ({reason}); {RERUN}"
            )
        self._node_starts_after[actor.location.node] = now + self._limits.delay(3)
        message = f"an actor waits for a hub or store that does not answer: {reason}"
        return Notice(message, STORE_OUTAGE, actor.location)

    def _book_failed_start(self, actor: Actor[ItemT], reason: str, is_broken: bool) -> Notice:
        location, now = actor.location, self._timing.now()
        reason = f"an actor cannot start: {reason}"
        if not location.node:
            return self._book_unplaced(reason)
        count = self.faults.record_failed_start(location, reason, is_broken)
        self._node_starts_after[location.node] = now + self._limits.delay(count)
        self._last_failure = reason, count
        self.faults.take_out(location, self.places, reason)
        if self.faults.is_out(location):
            return Notice(f"out of service: {location.name}: {reason}", START, location)
        return Notice(f"{reason} ({location.name})", START, location)

    def _book_unplaced(self, reason: str) -> Notice:
        """Book a failure of an actor's process before it reported its node, which blames no node.

        Failures within the delay after another count once; none counts while an actor is alive.
        """
        now = self._timing.now()
        if self._is_alive:
            self._unplaced, self._start_after = 0, now + self._limits.delay(3)
        elif now >= self._start_after:
            self._unplaced += 1
            self._start_after = now + self._limits.delay(self._unplaced)
        self._last_failure = reason, self._unplaced
        return Notice(reason, START)

    def _stop_slow_starts(self) -> Iterator[Notice]:
        now, limit = self._timing.now(), self._limits.start_seconds
        for reference, actor in list(self.starting.items()):
            if actor.began_at is not None and now - actor.began_at > limit:
                del self.starting[reference]
                ray.kill(actor.handle)
                yield self._book_failed_start(actor, f"not ready after {limit:.0f} seconds", False)

    def _check_any_can_start(self) -> None:
        """Raise UserError if no actor is alive, and the nodes have room only where starts failed or
        ``attempts`` starts in a row failed on unknown nodes."""
        if self._is_alive or not self._last_failure:
            return
        if self._unplaced >= self._limits.attempts or not self._has_room():
            reason, count = self._last_failure
            raise UserError(f"{reason} (tried {count} times); {RERUN}")

    def _has_room(self) -> bool:
        """Return whether an actor fits on what is in service."""
        if not self.faults.out_of_service:
            return True
        nodes_out = {node for node, device in self.faults.out_of_service if not device}
        parked = sum(actor.location.node not in nodes_out for actor in self._parked)
        return self._resources.fit(without=nodes_out) > parked

    @property
    def _is_alive(self) -> bool:
        """Return whether an actor is ready, or has a node and can become ready."""
        starts = any(actor.began_at is not None for actor in self.starting.values())
        return bool(self.actors or self.held or starts)

    def _share(self) -> str:
        return f"{self._resources.cpus:g} CPUs and {self._resources.gpus:g} GPUs per actor"
