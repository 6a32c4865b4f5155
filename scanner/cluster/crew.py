"""The actors of a pool, which come and go: as many as are wanted, fit and have work."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from scanner.cluster.resources import Resources  # first: it prepares the environment for ray

# isort: split
import ray
from ray.exceptions import RayError

from scanner.cluster.actor import Worker
from scanner.cluster.blame import ATTEMPTS, DELAYS
from scanner.cluster.events import Event, Task
from scanner.cluster.failures import brief, is_outage, is_preemption
from scanner.cluster.work import Work
from scanner.errors import UserError
from scanner.run import Commits

RESTARTS = 5
FIT_SECONDS = 5.0


@dataclass
class Actor:
    """One process and the tasks it was given, by Ray's reference. ``alone``: it has a suspect.

    ``computed``: what it has last reported of each item; ``asked``: the report that is on its way.
    """

    handle: Any
    node: str = ""
    tasks: dict[Any, Task] = field(default_factory=dict)
    alone: bool = False
    in_a_row: int = 0
    moved: float = field(default_factory=time.monotonic)
    computed: dict[str, int] = field(default_factory=dict)
    asked: Any = None
    asked_at: float = 0.0


class Crew:
    """Starts actors, buries them, and gives up where too many die.

    ``actors`` are at work, ``starting`` (by the reference of their start) not yet.
    """

    def __init__(
        self,
        commits: Commits,
        make_work: Callable[[], Work],
        resources: Resources,
        in_flight: int,
    ) -> None:
        self.actors: list[Actor] = []
        self.starting: dict[Any, Actor] = {}
        self._resources = resources
        self._wanted = 0
        self._deaths = self._bad_starts = 0
        self._start_after = self._fitted_at = 0.0
        remote: Any = ray.remote(Worker)
        actor = remote.options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=in_flight + 1,  # one more, for reports
        )
        self._new = lambda: actor.remote(commits, make_work)

    def close(self) -> None:
        for actor in [*self.actors, *self.starting.values()]:
            ray.kill(actor.handle)

    def fit(self, work: int) -> Iterator[Event]:
        """Start actors up to what is wanted, fits and has ``work`` items."""
        now = time.monotonic()
        if now - self._fitted_at > FIT_SECONDS or not self._fitted_at:
            self._fitted_at = now
            room = self._resources.fit()
            if room == 0 and not self._wanted:
                yield Event("note", reason=f"waiting for a node with room for {self._share()}")
            self._wanted = self._resources.actors or max(1, room)
        there = len(self.actors) + len(self.starting)
        if now < self._start_after:
            return
        for _ in range(min(self._wanted, work) - there):
            actor = Actor(self._new())
            self.starting[actor.handle.ready.remote()] = actor

    def started(self, reference: Any) -> Iterator[Event]:
        """The start of an actor has ended, well or not."""
        actor = self.starting.pop(reference)
        try:
            actor.node = ray.get(reference)
        except RayError as error:
            if is_preemption(error):
                yield Event("note", reason="a node was lost before its actor was there")
                self.buried("", excused=True)
                return
            reason = f"an actor cannot start: {brief(error)}"
            yield Event("note", reason=reason)
            self._bad_starts += 1
            if self._bad_starts >= ATTEMPTS and not is_outage(error):
                raise UserError(
                    f"{reason} (tried {self._bad_starts} times); what is committed is safe: mend "
                    "the cause and run the same command again"
                ) from error
            self.buried(reason, excused=True)
        else:
            self._bad_starts = 0
            actor.moved = time.monotonic()
            self.actors.append(actor)

    def retire(self, actor: Actor) -> None:
        """Take an actor out and end its process."""
        self.actors.remove(actor)
        ray.kill(actor.handle)

    def buried(self, reason: str, excused: bool = False) -> None:
        """An actor is gone: another one starts after a while, if not too many have died."""
        self._start_after = time.monotonic() + DELAYS[min(self._deaths, len(DELAYS) - 1)]
        if excused:
            return
        self._deaths += 1
        if self._deaths > RESTARTS * max(1, self._wanted):
            raise UserError(
                f"{reason} (given up after {RESTARTS} restarts an actor); what is committed is "
                "safe: mend the cause and run the same command again"
            )

    def forgive(self, deaths: int) -> None:
        """This many deaths were their nodes'."""
        self._deaths = max(0, self._deaths - deaths)

    def prospers(self) -> None:
        """There was a commit: the deaths before it are forgotten."""
        self._deaths = 0

    def _share(self) -> str:
        return f"{self._resources.cpus:g} CPUs and {self._resources.gpus:g} GPUs an actor"
