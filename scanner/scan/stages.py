"""Run the stages around scoring (planning, finishing) on the pool, and show their progress."""

import logging
from collections.abc import Callable, Mapping, Sequence

from scanner.cluster import (
    Committed,
    Event,
    Execution,
    InProcess,
    Item,
    Notice,
    Outcome,
    Quarantined,
    Requeued,
    Started,
    Tick,
    Work,
    execute,
    request_cpus,
)
from scanner.run import Commits
from scanner.run.progress import PlanningProgress, Watch
from scanner.scan.plan.make_plan import APART
from scanner.scan.plan.running import ONE_CORE, Execute

log = logging.getLogger("memscan.scan")

POOL_FROM = 4


def planning_executor(address: str | None, progress: Watch, pool_from: int = POOL_FROM) -> Execute:
    """Return a function that runs the items of planning: in this process, or from ``pool_from``
    items in a pool with all cores.

    Items of failed units always run in the pool, since they may end their process. While the pool
    of a cluster works, the autoscaler is asked for a CPU per item.
    """

    def run(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
        stage = commits.folder.rsplit("/", 1)[1]
        limit = 0 if stage == APART else pool_from
        return run_stage(stage, commits, items, make_work, address, progress, limit)

    return run


def run_stage(
    stage: str,
    commits: Commits,
    items: Sequence[Item],
    make_work: Callable[[], Work],
    address: str | None,
    progress: Watch,
    pool_from: int = POOL_FROM,
    generations: Mapping[str, int] | None = None,
) -> Outcome:
    """Run the items of a stage that are not committed, in this process if fewer than ``pool_from``
    are left, else in a pool of one actor per core. ``stage``: see PlanningProgress."""
    events = _StageEvents(PlanningProgress(stage, len(items)), progress, address)
    try:
        return execute(
            commits,
            items,
            make_work,
            ONE_CORE,
            address=address,
            in_process=InProcess[Item](lambda left: len(left) < pool_from),
            generations=generations,
            execution=Execution(in_flight=1, tags={"stage": stage}),
            on_event=events,
        )
    finally:
        events.close()


class _StageEvents:
    """Writes the events of a stage to the log, calls ``progress``, and asks for CPUs."""

    def __init__(self, state: PlanningProgress, progress: Watch, address: str | None) -> None:
        self.state, self.progress, self.address = state, progress, address
        self.has_request = False

    def close(self) -> None:
        """Withdraw the request for CPUs, if any."""
        if self.has_request:
            request_cpus(0, self.address)

    def __call__(self, event: Event[Item]) -> None:
        if isinstance(event, Started):
            self.state.done = self.state.items - len(event.items)
            self.progress(self.state)
            if event.items and not event.in_process:
                self.progress(PlanningProgress("start", 0))
                self.has_request = True
                if problem := request_cpus(len(event.items), self.address):
                    log.warning(f"{self.state.phase}: {problem}")
            return
        if isinstance(event, Tick):
            self.state.actors = event.actors
        elif isinstance(event, Committed):
            self.state.done += 1
        elif isinstance(event, Notice):
            log.info(f"{self.state.phase}: {event.message}")
        elif isinstance(event, Requeued | Quarantined):
            fields = {"slice": event.item.id, **event.location.fields()}
            log.warning(f"{self.state.phase}: {event.item.id} {event.reason}", extra=fields)
        self.progress(self.state)
