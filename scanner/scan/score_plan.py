"""Score a plan's slices on the pool, until all are committed and no part is damaged."""

import logging
import random
import time

from scanner.cluster import Event, Task, run_items, start_for
from scanner.errors import UserError
from scanner.run import Commits, Plan, Run
from scanner.run.progress import Progress, Watch, last_seen
from scanner.run.records import DamagedFile, encode
from scanner.scan.preparation import PreparedScan

log = logging.getLogger("memscan.scan")

SAVE_SECONDS = 5.0
REPAIRS = 3


def score_plan(prepared: PreparedScan, run: Run, plan: Plan, progress: Watch) -> None:
    """Score the slices that nobody has committed, then those whose parts turn out damaged."""
    commits = run.commits
    done = commits.done()
    left = [Task(item) for item in plan.slices if item.id not in done]
    before = _happened_before(run)
    state = Progress(len(plan.slices), plan.counts["captions"], happened=before)
    state.committed = len(plan.slices) - len(left)
    state.captions_done = state.done_before = state.captions - sum(t.item.rows for t in left)
    if state.committed:
        _tell(run, state, f"going on: {state.committed} of {state.slices} slices are committed")
    slices = {item.id: item for item in plan.slices}
    for _ in range(REPAIRS):
        if left:
            _drive(prepared, run, commits, left, state, progress)
        damaged, done = run.damaged(), commits.done()
        for name, problem in damaged.items():
            _tell(run, state, f"slice {name} is scored again: {problem}", name, logging.WARNING)
        left = [Task(slices[name], done[name] + 1) for name in damaged if name in slices]
        state.committed -= len(left)
        state.captions_done -= sum(task.item.rows for task in left)
        if not left:
            return
    raise UserError(
        f"{run.store.url}: damaged again after {REPAIRS - 1} repairs: "
        f"{next(iter(damaged.values()))}; check the store"
    )


def _drive(
    prepared: PreparedScan,
    run: Run,
    commits: Commits,
    tasks: list[Task],
    state: Progress,
    progress: Watch,
) -> None:
    log.info(f"{len(tasks):,} slices to score; each actor loads the model")
    progress(state)
    start_for(prepared.resources, prepared.config.address)
    # Two drivers of one run begin at different places, so that little is scored twice.
    turn = random.randrange(len(tasks))
    tasks = tasks[turn:] + tasks[:turn]
    last = 0.0
    try:
        for event in run_items(commits, tasks, prepared.work(run.store), prepared.resources):
            _note(event, run, state)
            if time.monotonic() - last > SAVE_SECONDS or event.kind == "quarantine":
                state.save(run)
                last = time.monotonic()
            state.updated = time.time()
            progress(state)
    except KeyboardInterrupt:
        state.stop(run)
        raise
    state.running = {}
    state.save(run)


def _note(event: Event, run: Run, state: Progress) -> None:
    if event.kind == "tick":
        state.running, state.actors = event.running, event.actors
        if state.actors and not state.started:
            state.started = time.time()
    elif event.kind == "commit":
        state.committed += 1
        state.captions_done += event.item.rows
        state.running.pop(event.item.id, None)
    elif event.kind == "note":
        _tell(run, state, event.reason)
    elif event.kind == "retry":
        line = f"slice {event.item.id} failed and goes back in line: {event.reason}"
        _tell(run, state, line, event.item.id, logging.WARNING)
    elif event.kind == "quarantine":
        state.quarantined += 1
        line = f"slice {event.item.id} is quarantined: {event.reason}"
        _tell(run, state, line, event.item.id, logging.ERROR)
        record = {"slice": event.item.id, "captions": event.item.rows, "reason": event.reason}
        run.store.write(f"quarantine/{event.item.id}.json", encode(record))


def _happened_before(run: Run) -> list[str]:
    """What earlier drivers have noted; progress.json is for people and may be damaged."""
    try:
        return last_seen(run).get("happened", [])
    except DamagedFile as error:
        log.warning(f"begun anew: {error}")
        run.store.remove("progress.json")
        return []


def _tell(
    run: Run, state: Progress, line: str, name: str | None = None, level: int = logging.INFO
) -> None:
    """To whoever watches now, and to whoever asks for the run's status later; ``name``: of the
    slice."""
    fields = {"run": run.store.url} | ({"slice": name} if name else {})
    log.log(level, line, extra=fields)
    state.remember(line)
