"""Score a plan's slices on the pool, until all are committed and no part is damaged."""

import random
import time

from scanner.cluster import Event, Task, run_items, start_for
from scanner.errors import UserError
from scanner.run import Commits, Plan, Run
from scanner.run.progress import Progress, Watch, last_seen
from scanner.run.records import DamagedFile, encode
from scanner.scan.setting import Say, Setting

SAVE_SECONDS = 5.0
REPAIRS = 3


def score_plan(setting: Setting, run: Run, plan: Plan, say: Say, progress: Watch) -> None:
    """Score the slices that nobody has committed, then those whose parts turn out damaged."""
    commits = run.commits
    done = commits.done()
    left = [Task(item) for item in plan.slices if item.id not in done]
    before = _happened_before(run, say)
    state = Progress(len(plan.slices), plan.counts["captions"], happened=before)
    state.committed = len(plan.slices) - len(left)
    state.captions_done = state.done_before = state.captions - sum(t.item.rows for t in left)
    if state.committed:
        _tell(say, state, f"going on: {state.committed} of {state.slices} slices are committed")
    slices = {item.id: item for item in plan.slices}
    for _ in range(REPAIRS):
        if left:
            _drive(setting, run, commits, left, state, say, progress)
        damaged, done = run.damaged(), commits.done()
        for name, problem in damaged.items():
            _tell(say, state, f"slice {name} is scored again: {problem}")
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
    setting: Setting,
    run: Run,
    commits: Commits,
    tasks: list[Task],
    state: Progress,
    say: Say,
    progress: Watch,
) -> None:
    say(f"{len(tasks):,} slices to score; each actor loads the model")
    progress(state)
    start_for(setting.resources, setting.config.address)
    # Two drivers of one run begin at different places, so that little is scored twice.
    turn = random.randrange(len(tasks))
    tasks = tasks[turn:] + tasks[:turn]
    last = 0.0
    try:
        for event in run_items(commits, tasks, setting.work(run.store), setting.resources):
            _note(event, run, state, say)
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


def _note(event: Event, run: Run, state: Progress, say: Say) -> None:
    if event.kind == "tick":
        state.running, state.actors = event.running, event.actors
        if state.actors and not state.started:
            state.started = time.time()
    elif event.kind == "commit":
        state.committed += 1
        state.captions_done += event.item.rows
        state.running.pop(event.item.id, None)
    elif event.kind == "note":
        _tell(say, state, event.reason)
    elif event.kind == "retry":
        _tell(say, state, f"slice {event.item.id} failed and goes back in line: {event.reason}")
    elif event.kind == "quarantine":
        state.quarantined += 1
        _tell(say, state, f"slice {event.item.id} is quarantined: {event.reason}")
        record = {"slice": event.item.id, "captions": event.item.rows, "reason": event.reason}
        run.store.write(f"quarantine/{event.item.id}.json", encode(record))


def _happened_before(run: Run, say: Say) -> list[str]:
    """What earlier drivers have noted; progress.json is for people and may be damaged."""
    try:
        return last_seen(run).get("happened", [])
    except DamagedFile as error:
        say(f"begun anew: {error}")
        run.store.remove("progress.json")
        return []


def _tell(say: Say, state: Progress, line: str) -> None:
    """To whoever watches now, and to whoever asks for the run's status later."""
    say(line)
    state.remember(line)
