"""Run items to their commits: on a pool of Ray actors, or in this process if they are few.

An executor knows nothing of captions or models: a command brings its work, a picklable factory
that is called once per process.
"""

import contextlib
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Generic

from scanner.cluster.connection.resources import Resources
from scanner.cluster.connection.starting import check_ray, start_for
from scanner.cluster.events import (
    Committed,
    Event,
    ItemT,
    Notice,
    Quarantined,
    Started,
    Task,
)
from scanner.cluster.in_process import run_in_process
from scanner.cluster.limits import DEFAULT_LIMITS, DEFAULT_TIMING, RetryLimits, Timing
from scanner.cluster.metrics import Metrics, run_tag
from scanner.cluster.monitor import Monitor
from scanner.cluster.work import Work
from scanner.run import Commits

IN_FLIGHT = 3


@dataclass(frozen=True)
class InProcess(Generic[ItemT]):
    """When items run in the command's own process, and how.

    is_small: whether a pool is not worth its start for these items. make_work: makes the work
    here, if not as in an actor (from a model that is loaded already, for example).
    """

    is_small: Callable[[Sequence[ItemT]], bool]
    make_work: Callable[[], Work] | None = None


@dataclass(frozen=True)
class Execution:
    """How items are run. in_flight: items in one actor at a time, one of which computes. tags: of
    the metrics, such as stage and profile."""

    in_flight: int = IN_FLIGHT
    limits: RetryLimits = DEFAULT_LIMITS
    timing: Timing = DEFAULT_TIMING
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """done: items committed by this execution; failed: why items were given up, by id."""

    done: int
    failed: dict[str, str] = field(default_factory=dict)


DEFAULT_EXECUTION = Execution()


def execute(
    commits: Commits,
    items: Sequence[ItemT],
    make_work: Callable[[], Work],
    resources: Resources,
    *,
    address: str | None = None,
    in_process: InProcess[ItemT] | None = None,
    generations: Mapping[str, int] | None = None,
    tiers: Mapping[str, int] | None = None,
    execution: Execution = DEFAULT_EXECUTION,
    on_event: Callable[[Event[ItemT]], None] = lambda _: None,
) -> Outcome:
    """Run every item that has no commit yet, and report what happens to ``on_event``.

    Starts Ray, or joins the cluster at ``address``, unless nothing is left or ``in_process``
    holds. ``generations``: by id, the generation of the commit that an item needs (0 by default);
    repairs count up. ``tiers``: by id, for items that are in order of them: lower ones are begun
    first. Failed items are requeued, then quarantined; outages of the store are waited
    for. Raises UserError where nothing can run.
    """
    done, needed = commits.done(), generations or {}
    tasks = [
        Task(item, needed.get(item.id, 0))
        for item in items
        if done.get(item.id, -1) < needed.get(item.id, 0)
    ]
    left = tuple(task.item for task in tasks)
    here = in_process if in_process and left and in_process.is_small(left) else None
    on_event(Started(left, here is not None))
    tally = _Tally(on_event)
    if here:
        make_here = here.make_work or make_work
        run_in_process(
            commits, tasks, make_here, tally, limits=execution.limits, timing=execution.timing
        )
    elif tasks:
        tags = {"run": run_tag(commits.store.url), **execution.tags}
        monitor = Monitor(Metrics(tags), len(tasks))
        spread = _spread(tasks, tiers or {})
        pool = _on_pool(commits, spread, make_work, resources, address, execution, tags)
        # Closed also if on_event raises, so that no actor keeps running.
        with contextlib.closing(pool) as events, contextlib.closing(monitor):
            for event in events:
                monitor(event)
                tally(event)
    return Outcome(tally.done, tally.failed)


def _on_pool(
    commits: Commits,
    tasks: Sequence[Task[ItemT]],
    make_work: Callable[[], Work],
    resources: Resources,
    address: str | None,
    execution: Execution,
    tags: Mapping[str, str],
) -> Generator[Event[ItemT], None, None]:
    for line in check_ray(address):
        yield Notice(line)
    start_for(resources, address)
    from scanner.cluster.dispatcher import dispatch  # loads Ray, which takes seconds

    yield from dispatch(
        commits,
        tasks,
        make_work,
        resources,
        in_flight=execution.in_flight,
        limits=execution.limits,
        timing=execution.timing,
        tags=tags,
    )


def _spread(tasks: Sequence[Task[ItemT]], tiers: Mapping[str, int]) -> list[Task[ItemT]]:
    """Rotate each tier by a random offset, so that two drivers of one run start with different
    items."""
    spread: list[Task[ItemT]] = []
    for _, found in groupby(tasks, lambda task: tiers.get(task.item.id, 0)):
        equal = list(found)
        turn = random.randrange(len(equal))
        spread += [*equal[turn:], *equal[:turn]]
    return spread


class _Tally:
    """Counts the outcome of the events that it passes on."""

    def __init__(self, on_event: Callable[[Any], None]) -> None:
        self.on_event = on_event
        self.done = 0
        self.failed: dict[str, str] = {}

    def __call__(self, event: Event[Any]) -> None:
        if isinstance(event, Committed):
            self.done += 1
        elif isinstance(event, Quarantined):
            self.failed[event.item.id] = event.reason
        self.on_event(event)
