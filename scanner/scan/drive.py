"""Drive a scan from its options to a sealed run."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scanner.cluster import (
    Event,
    Item,
    Resources,
    Task,
    Work,
    check_room,
    joins_cluster,
    run_items,
    start_ray,
)
from scanner.errors import UserError
from scanner.run import Commits, Plan, Run
from scanner.run.progress import Progress
from scanner.run.records import encode
from scanner.scan.cascade import plan_from_run
from scanner.scan.config import ScanConfig
from scanner.scan.inputs import Input, choose_inputs
from scanner.scan.planning import make_plan
from scanner.scan.setting import Say, Setting, asked_of, prepare, record_of, what_is_scanned
from scanner.scan.stages import RunItems, run_here
from scanner.storage import Store

SHOWN = 5
SAY_SECONDS = 10.0
SAVE_SECONDS = 5.0
POOL_FROM = 4
PLANNING_CPUS = 1.0
REPAIRS = 3


@dataclass(frozen=True)
class ScanResult:
    """A sealed run: its manifest, and whether more was rejected than the options allow."""

    run: str
    manifest: dict[str, Any]
    complaints: tuple[str, ...]


def scan(config: ScanConfig, say: Say, progress: Callable[[Progress], None]) -> ScanResult:
    """Plan, score and seal; goes on where an earlier call on the same directory stopped.

    ``say`` hears what is chosen and what goes wrong, a line at a time; ``progress`` hears how far
    it is, at least every second. Raises UserError for what the user has to mend.
    """
    config.check()
    run = Run(Store(config.out, config.single_writer))
    wanted = what_is_scanned(config)
    there = run.record()
    asked = asked_of(config)
    if config.extend:
        wanted = _as_it_began(there, wanted, config)
    same = there is not None and there["inputs"] == wanted and there["asked"] == asked
    if same and run.is_finished() and not (config.extend or config.repair):
        say(f"{config.out} is finished already")
        return _result(run, run.manifest() or {}, config)
    if there and config.revision is None and there["model"]["name"] == config.model:
        # The hub's newest revision may have moved on; a run stays with the one it began with.
        config = replace(config, revision=there["model"]["revision"])
    plans = run.plans()
    # Before the model loads, so that errors show early.
    inputs = _unread(config, plans)
    if config.extend and not inputs and run.is_finished() and not config.repair:
        say(f"{config.out} has read these files already")
        return _result(run, run.manifest() or {}, config)
    setting = prepare(config, say)
    run.store.preflight()
    run.begin(record_of(setting, asked, wanted))
    while not plans or inputs:
        plan = plan_scan(setting, inputs, run.store, say, plans)
        plans.append(run.adopt(plan, len(plans)))
        # Another driver, or this one before it was killed, may have planned other files.
        inputs = _unread(config, plans) if config.extend else []
    _score(setting, run, Plan.joined(plans), say, progress)
    manifest = run.seal()
    for number in range(len(plans)):
        run.store.remove_folder(f"{_folder(number)}/spellings")
    return _result(run, manifest, config)


def _as_it_began(
    there: dict[str, Any] | None, wanted: dict[str, Any], config: ScanConfig
) -> dict[str, Any]:
    """An extended run's record keeps the inputs that it began with; the plan has the others."""
    if there is None:
        raise UserError(f"{config.out}: no run here to extend; leave out --extend to begin one")
    began = there["inputs"]
    if began["captions_from"] or began["limit"]:
        raise UserError(
            f"{config.out}: a run of --captions-from or --limit cannot be extended; begin another"
        )
    return wanted | {name: began[name] for name in ("captions", "reference")}


def _unread(config: ScanConfig, plans: list[Plan]) -> list[Input]:
    """The input files that no generation of the plan has read."""
    if plans and not config.extend:
        return []
    read = {item.get("url") for plan in plans for item in plan.inputs}
    return [item for item in choose_inputs(config) if item.url not in read]


def _folder(generation: int) -> str:
    return f"planning/{generation:04d}"


def plan_scan(
    setting: Setting,
    inputs: list[Input],
    store: Store,
    say: Say,
    earlier: Sequence[Plan] = (),
    here: bool = False,
) -> Plan:
    """Read the inputs into the store and describe what there is to score.

    ``here``: in this process alone, for a store that no other sees.
    """
    config = setting.config
    if config.captions_from:
        rows = setting.slice_rows
        plan = plan_from_run(config.captions_from, config.where, store, rows, config.limit)
        say(f"planned: {plan.counts['captions']:,} captions flagged by {config.captions_from}")
        return plan
    for item in inputs[:SHOWN]:
        say(f"{item.url}: {_choice(item)}")
    if len(inputs) > SHOWN:
        say(f"… and {len(inputs) - SHOWN} more files")
    plan = make_plan(
        inputs,
        store,
        setting.make_canonical,
        setting.slice_rows,
        config.limit,
        run_here if here else _planner(setting, say),
        _folder(len(earlier)),
        earlier,
    )
    counts = plan.counts
    say(
        f"planned: {counts['rows']:,} rows, {counts['rejects']:,} rejected, "
        f"{counts['captions']:,} distinct captions in {len(plan.slices):,} slices"
    )
    return plan


def _planner(setting: Setting, say: Say) -> RunItems:
    """A few items are planned in this process, many by a pool that uses every core."""

    def plan(
        commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]
    ) -> dict[str, str]:
        done = commits.done()
        left = [Task(item) for item in items if item.id not in done]
        if len(left) < POOL_FROM:
            return run_here(commits, items, make_work)
        start_ray(setting.config.address)
        failed, finished, last = {}, len(items) - len(left), 0.0
        resources = Resources(None, PLANNING_CPUS, 0)
        for event in run_items(commits, left, make_work, resources, in_flight=1):
            finished += event.kind == "commit"
            if event.kind == "quarantine":
                failed[event.item.id] = event.reason
            if event.kind in ("retry", "note", "quarantine"):
                say(f"planning: {event.item.id if event.item else ''} {event.reason}")
            if time.monotonic() - last > SAY_SECONDS:
                say(f"planning, {commits.folder}: {finished:,} of {len(items):,} done")
                last = time.monotonic()
        return failed

    return plan


def _choice(item: Input) -> str:
    if item.columns is None:
        return f"left out: {item.problem}"
    chosen = item.columns
    parts = {
        "caption": chosen.caption,
        "key": chosen.key or "(file, row)",
        "image key": chosen.image_key or "none",
        "keep": ", ".join(chosen.keep) or "nothing",
    }
    role = "reference, " if item.is_reference else ""
    return role + ", ".join(f"{what} = {name}" for what, name in parts.items())


def _score(
    setting: Setting, run: Run, plan: Plan, say: Say, progress: Callable[[Progress], None]
) -> None:
    """Score the slices that nobody has committed, then those whose parts turn out damaged."""
    commits = run.commits
    done = commits.done()
    left = [Task(item) for item in plan.slices if item.id not in done]
    state = Progress(len(plan.slices), plan.counts["captions"], started=time.time())
    state.committed = len(plan.slices) - len(left)
    state.captions_done = state.done_before = state.captions - sum(t.item.rows for t in left)
    if state.committed:
        say(f"going on: {state.committed} of {state.slices} slices are committed")
    slices = {item.id: item for item in plan.slices}
    for _ in range(REPAIRS):
        if left:
            _drive(setting, run, commits, left, state, say, progress)
        damaged, done = run.damaged(), commits.done()
        for name, problem in damaged.items():
            say(f"slice {name} is scored again: {problem}")
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
    progress: Callable[[Progress], None],
) -> None:
    start_ray(setting.config.address)
    if not joins_cluster(setting.config.address):
        check_room(setting.resources)
    # Two drivers of one run begin at different places, so that little is scored twice.
    turn = random.randrange(len(tasks))
    tasks = tasks[turn:] + tasks[:turn]
    last = 0.0
    for event in run_items(commits, tasks, setting.work(run.store), setting.resources):
        _note(event, run, state, say)
        if time.monotonic() - last > SAVE_SECONDS or event.kind == "quarantine":
            state.save(run)
            last = time.monotonic()
        state.updated = time.time()
        progress(state)
    state.running = ()
    state.save(run)


def _note(event: Event, run: Run, state: Progress, say: Say) -> None:
    if event.kind == "tick":
        state.running, state.actors = event.running, event.actors
    elif event.kind == "commit":
        state.committed += 1
        state.captions_done += event.item.rows
    elif event.kind == "note":
        say(event.reason)
    elif event.kind == "retry":
        say(f"slice {event.item.id} failed and goes back in line: {event.reason}")
    elif event.kind == "quarantine":
        state.quarantined += 1
        say(f"slice {event.item.id} is quarantined: {event.reason}")
        record = {"slice": event.item.id, "captions": event.item.rows, "reason": event.reason}
        run.store.write(f"quarantine/{event.item.id}.json", encode(record))


def _result(run: Run, manifest: dict[str, Any], config: ScanConfig) -> ScanResult:
    counts = manifest["counts"]
    complaints = []
    if counts["quarantined"]:
        complaints.append(
            f"{counts['quarantined']:,} captions in {len(manifest['quarantined'])} quarantined "
            f"slices have no scores; see {config.out}/quarantine, then run the same command again"
        )
    if counts["rejected_files"]:
        complaints.append(f"{counts['rejected_files']} input files could not be read to the end")
    # What img2dataset could not download was never in the training set.
    rejects = counts["rejects"] - counts.get("not_downloaded", 0)
    for what, of, number in (
        ("rejects", "rows", rejects),
        ("scan_rejects", "captions", counts["scan_rejects"]),
    ):
        if number > config.max_reject_fraction * counts[of]:
            complaints.append(f"{counts[what]:,} of {counts[of]:,} {of} were rejected")
    return ScanResult(config.out, manifest, tuple(complaints))
