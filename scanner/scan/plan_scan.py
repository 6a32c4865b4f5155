"""Plan a scan: say what was chosen, and do the items of planning here or on the pool."""

import logging
from collections.abc import Callable, Sequence

from scanner.cluster import Item, Resources, Task, Work, run_items, start_ray
from scanner.run import Commits, Plan
from scanner.run.progress import PlanningProgress, Watch
from scanner.scan.plan.from_run import plan_from_run
from scanner.scan.plan.inputs import Input, Inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.stages import APART, DoItems, run_here
from scanner.scan.preparation import PreparedScan
from scanner.storage import Store, skipped_lines

log = logging.getLogger("memscan.scan")

SHOWN = 5
POOL_FROM = 4
PLANNING_CPUS = 1.0


def plan_scan(
    prepared: PreparedScan,
    inputs: Inputs,
    store: Store,
    earlier: Sequence[Plan] = (),
    do_items: DoItems = run_here,
) -> Plan:
    """Read the inputs into the store and describe what there is to score.

    ``do_items``: in this process alone by default, else :func:`on_the_pool`.
    """
    config = prepared.config
    if config.captions_from:
        rows = prepared.slice_rows
        plan = plan_from_run(config.captions_from, config.where, store, rows, config.limit)
        log.info(f"planned: {plan.counts['captions']:,} captions flagged by {config.captions_from}")
        return plan
    files = inputs.files
    for item in files[:SHOWN]:
        log.info(f"{item.url}: {_choice(item)}")
    if len(files) > SHOWN:
        log.info(f"… and {len(files) - SHOWN} more files")
    rejected = sum(bool(item.problem) for item in files)
    if rejected:
        log.info(f"{rejected:,} of {len(files):,} files are left out; the rejects say why")
    for line in skipped_lines(inputs.skipped.to_json()):
        log.info(line)
    plan = make_plan(
        inputs,
        store,
        prepared.make_canonical,
        prepared.slice_rows,
        config.limit,
        do_items,
        earlier,
    )
    log_notes(plan)
    counts = plan.counts
    log.info(
        f"planned: {counts['rows']:,} rows, {counts['rejects']:,} rejected, "
        f"{counts['captions']:,} distinct captions in {len(plan.slices):,} slices"
        f"{' (as many as --limit takes)' if config.limit else ''}"
    )
    return plan


def log_notes(plan: Plan) -> None:
    """Log what reading noted of files' data, of the worst of them by name."""
    found = [
        (number, note, file["url"])
        for file in plan.inputs
        for note, number in file.get("notes", {}).items()
    ]
    for number, note, url in sorted(found, reverse=True)[:SHOWN]:
        log.info(f"{url}: {number:,} {note}")
    if len(found) > SHOWN:
        log.info(f"… and {len(found) - SHOWN} more such notes; plan.json has them all")


def on_the_pool(address: str | None, progress: Watch) -> DoItems:
    """A few items are planned in this process, many by a pool that uses every core.

    What failed in the pool stays there: it may have ended its process.
    """

    def plan(
        commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]
    ) -> dict[str, str]:
        done = commits.done()
        left = [Task(item) for item in items if item.id not in done]
        state = PlanningProgress(commits.folder.rsplit("/", 1)[1], len(items))
        state.done = len(items) - len(left)
        progress(state)
        if len(left) < POOL_FROM and not commits.folder.endswith(APART):
            return run_here(commits, items, make_work)
        progress(PlanningProgress("start", 0))
        start_ray(address)
        failed: dict[str, str] = {}
        resources = Resources(None, PLANNING_CPUS, 0)
        for event in run_items(commits, left, make_work, resources, in_flight=1):
            if event.kind == "tick":
                state.actors = event.actors
            state.done += event.kind == "commit"
            if event.kind == "quarantine":
                failed[event.item.id] = event.reason
            if event.kind in ("retry", "note", "quarantine"):
                log.warning(f"planning: {event.item.id if event.item else ''} {event.reason}")
            progress(state)
        return failed

    return plan


def _choice(item: Input) -> str:
    if item.columns is None:
        return f"left out: {item.problem}" if item.problem else "empty"
    chosen = item.columns
    parts = {
        "caption": chosen.caption,
        "key": chosen.key or "(file, row)",
        "image key": chosen.image_key or "none",
        "keep": ", ".join(chosen.keep) or "nothing",
    }
    role = "reference, " if item.is_reference else ""
    return role + ", ".join(f"{what} = {name}" for what, name in parts.items())
