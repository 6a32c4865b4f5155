"""The actors of an execution: as many as are wanted, have work, and fit on the cluster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic

import ray
from ray.exceptions import RayError

from scanner.cluster.actor import WorkActor
from scanner.cluster.events import NOWHERE, ItemT, Location, Notice, Task
from scanner.cluster.failures import brief, cause_of, is_outage, is_preemption
from scanner.cluster.limits import RetryLimits, Timing
from scanner.cluster.resources import Resources
from scanner.cluster.work import Work
from scanner.errors import UserError
from scanner.run import Commits

RERUN = "what is committed is safe: fix the cause and rerun the same command"


@dataclass
class Actor(Generic[ItemT]):
    """One process and its tasks, by Ray's reference.

    retries: its only task has failed before. progressed_at: when it last was known to get on.
    computed: what it last reported of each item; report, report_at: the request under way.
    """

    handle: Any
    location: Location = NOWHERE
    tasks: dict[Any, Task[ItemT]] = field(default_factory=dict)
    retries: bool = False
    consecutive_failures: int = 0
    progressed_at: float = 0.0
    computed: dict[str, int] = field(default_factory=dict)
    report: Any = None
    report_at: float = 0.0


class ActorPool(Generic[ItemT]):
    """Starts and retires actors; aborts after too many failures.

    ``actors`` are ready for work; ``starting``, by the reference of their start, not yet.
    """

    def __init__(
        self,
        commits: Commits,
        make_work: Callable[[], Work],
        resources: Resources,
        in_flight: int,
        limits: RetryLimits,
        timing: Timing,
    ) -> None:
        self.actors: list[Actor[ItemT]] = []
        self.starting: dict[Any, Actor[ItemT]] = {}
        self._resources, self._limits, self._timing = resources, limits, timing
        self._wanted = 0
        self._deaths = self._failed_starts = 0
        self._start_after = 0.0
        self._fitted_at: float | None = None
        remote: Any = ray.remote(WorkActor)
        actor = remote.options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=in_flight + 1,  # one more, for reports
        )
        self._new = lambda: actor.remote(commits, make_work)

    def close(self) -> None:
        """End all processes."""
        for actor in [*self.actors, *self.starting.values()]:
            ray.kill(actor.handle)

    def fit(self, items: int) -> Iterator[Notice]:
        """Start actors up to the number that is wanted, fits, and has one of ``items`` each."""
        now = self._timing.now()
        if self._fitted_at is None or now - self._fitted_at > self._timing.fit_seconds:
            self._fitted_at = now
            room = self._resources.fit()
            if room == 0 and not self._wanted:
                yield Notice(f"waiting for a node with room for {self._share()}")
            self._wanted = self._resources.actors or max(1, room)
        if now < self._start_after:
            return
        existing = len(self.actors) + len(self.starting)
        for _ in range(min(self._wanted, items) - existing):
            actor: Actor[ItemT] = Actor(self._new())
            self.starting[actor.handle.location.remote()] = actor

    def finish_start(self, reference: Any) -> Iterator[Notice]:
        """Take in an actor whose start has ended, well or not."""
        actor = self.starting.pop(reference)
        try:
            actor.location = ray.get(reference)
        except RayError as error:
            if is_preemption(error):
                yield Notice("a node was lost before its actor was ready")
                self.record_loss("", uncounted=True)
                return
            reason = f"an actor cannot start: {brief(error)}"
            yield Notice(reason)
            self._failed_starts += 1
            if self._failed_starts >= self._limits.attempts and not is_outage(cause_of(error)):
                raise UserError(f"{reason} (tried {self._failed_starts} times); {RERUN}") from error
            self.record_loss(reason, uncounted=True)
        else:
            self._failed_starts = 0
            actor.progressed_at = self._timing.now()
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

    def _share(self) -> str:
        return f"{self._resources.cpus:g} CPUs and {self._resources.gpus:g} GPUs per actor"
