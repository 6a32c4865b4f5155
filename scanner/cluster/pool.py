"""A pool of Ray actors, each pinned to its share of a device, that works through slices.

The pool knows nothing of captions or models: a command brings its work, a picklable factory that
is called once in each actor. What the work returns for a slice is committed inside the actor, so
nothing large passes through the driver. Because the first commit of a slice wins, running one
twice is always safe; retries belong to the driver.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # read when ray is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from scanner.errors import UserError
from scanner.run import Commit, Run, Slice
from scanner.storage import Store

ATTEMPTS = 3
RESTARTS = 5
FAILURES_IN_A_ROW = 2
TICK_SECONDS = 1.0


class Work(Protocol):
    """Turns one slice into tables by kind (a folder of the run)."""

    def __call__(self, item: Slice) -> dict[str, pa.Table]: ...


@dataclass(frozen=True)
class Resources:
    """How many actors, and what each one takes of the machine."""

    actors: int
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Event:
    """What the driver learns: ``commit`` of a slice, ``quarantine`` of one, ``retry``, or ``tick``.

    ``running`` holds the slices at work; ``reason`` says why for ``retry`` and ``quarantine``.
    """

    kind: str
    slice: Slice | None = None
    commit: Commit | None = None
    reason: str = ""
    running: tuple[str, ...] = ()


class _Worker:
    """The actor: makes its work once, then does slices and commits them."""

    def __init__(self, store: Store, fingerprint: str, make_work: Callable[[], Work]) -> None:
        self.run = Run(store)
        self.fingerprint = fingerprint
        self.work = make_work()

    def ready(self) -> None:
        """Returns when the work has been made."""

    def do(self, item: Slice) -> Commit:
        began = time.monotonic()
        tables = self.work(item)
        return self.run.commit(item.id, self.fingerprint, tables, time.monotonic() - began)


def start_ray(address: str | None) -> None:
    """Connect to a cluster, or start a local Ray where no address is given."""
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        options |= {"include_dashboard": False}
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--address {address}: no Ray to connect to: {error}") from error


def run_slices(
    run: Run,
    slices: Sequence[Slice],
    make_work: Callable[[], Work],
    fingerprint: str,
    resources: Resources,
) -> Iterator[Event]:
    """Work through the slices; yields an event for everything that happens, and once a second.

    A slice that fails ``ATTEMPTS`` times is given up (event ``quarantine``), the others go on.
    Raises UserError where no node has what an actor takes, where an actor cannot start, or where
    actors die more than ``RESTARTS`` times each without a commit in between.
    """
    _check_room(resources)
    pool = _Pool(run, make_work, fingerprint, resources, deque(slices))
    try:
        yield from pool.drive()
    finally:
        pool.close()


def _check_room(resources: Resources) -> None:
    """Raises UserError where no actor could ever be placed, which Ray would wait for in silence."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
    if resources.cpus > cpus or resources.gpus > gpus:
        raise UserError(
            f"an actor takes {resources.cpus:g} CPUs and {resources.gpus:g} GPUs, and the largest "
            f"node has {cpus:g} and {gpus:g}; lower --cpus-per-actor or --gpus-per-actor"
        )


class _Pool:
    def __init__(
        self,
        run: Run,
        make_work: Callable[[], Work],
        fingerprint: str,
        resources: Resources,
        waiting: deque[Slice],
    ) -> None:
        self.waiting = waiting
        self.failures: dict[str, int] = {}
        self.most_restarts = self.restarts = RESTARTS * resources.actors
        self.in_a_row: dict[Any, int] = {}
        self.starting: dict[Any, Any] = {}
        self.working: dict[Any, tuple[Any, Slice]] = {}
        remote: Any = ray.remote(_Worker)
        actor = remote.options(
            num_cpus=resources.cpus, num_gpus=resources.gpus, max_restarts=0, max_task_retries=0
        )
        self._new = lambda: actor.remote(run.store, fingerprint, make_work)
        for _ in range(min(resources.actors, len(waiting))):
            self._start()

    def drive(self) -> Iterator[Event]:
        while self.waiting or self.working:
            pending = [*self.starting, *self.working]
            done, _ = ray.wait(pending, timeout=TICK_SECONDS)
            yield Event("tick", running=tuple(item.id for _, item in self.working.values()))
            for reference in done:
                if reference in self.starting:
                    self._started(reference)
                else:
                    yield from self._finished(reference)

    def close(self) -> None:
        for actor in [*self.starting.values(), *(actor for actor, _ in self.working.values())]:
            ray.kill(actor)

    def _start(self) -> None:
        actor = self._new()
        self.starting[actor.ready.remote()] = actor

    def _started(self, reference: Any) -> None:
        actor = self.starting.pop(reference)
        try:
            ray.get(reference)
        except RayError as error:
            self._replace(f"an actor cannot start: {_brief(error)}")
        else:
            self._feed(actor)

    def _feed(self, actor: Any) -> None:
        if self.waiting:
            item = self.waiting.popleft()
            self.working[actor.do.remote(item)] = (actor, item)

    def _finished(self, reference: Any) -> Iterator[Event]:
        actor, item = self.working.pop(reference)
        try:
            commit = ray.get(reference)
        except RayTaskError as error:
            yield self._failed(item, _brief(error))
            # Twice in a row may be the process's fault (a broken device): a new one decides.
            self.in_a_row[actor] = self.in_a_row.get(actor, 0) + 1
            if self.in_a_row[actor] < FAILURES_IN_A_ROW:
                self._feed(actor)
            else:
                ray.kill(actor)
                self._replace_if_needed(_brief(error))
        except RayError as error:
            yield self._failed(item, f"its process died: {_brief(error)}")
            self._replace_if_needed("actors keep dying")
        else:
            self.in_a_row.pop(actor, None)
            self.restarts = self.most_restarts
            yield Event("commit", item, commit)
            self._feed(actor)

    def _replace_if_needed(self, reason: str) -> None:
        if self.waiting:
            self._replace(reason)

    def _failed(self, item: Slice, reason: str) -> Event:
        self.failures[item.id] = self.failures.get(item.id, 0) + 1
        if self.failures[item.id] < ATTEMPTS:
            self.waiting.append(item)
            return Event("retry", item, reason=reason)
        return Event("quarantine", item, reason=reason)

    def _replace(self, reason: str) -> None:
        if self.restarts == 0:
            raise UserError(
                f"{reason} (given up after {RESTARTS} restarts an actor); what is committed is "
                "safe: mend the cause and run the same command again"
            )
        self.restarts -= 1
        self._start()


def _brief(error: Exception) -> str:
    """The last line of a remote traceback, which names the cause."""
    cause = getattr(error, "cause", None)
    if cause is not None:
        return f"{type(cause).__name__}: {cause}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
