"""Run a scan from its options to a sealed run: plan, score, seal."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

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
    check_ray,
    execute,
    may_run_in_process,
    request_cpus,
)
from scanner.errors import UserError
from scanner.run import Commits, Plan
from scanner.run.directory import planning_folder
from scanner.run.progress import PlanningProgress, Watch
from scanner.scan.config import ScanConfig
from scanner.scan.opening import (
    OpenScan,
    ScanResult,
    open_scan,
    refuse_other_weights,
    result_of,
    run_record,
)
from scanner.scan.plan.from_run import plan_from_run
from scanner.scan.plan.inputs import Input, Inputs, choose_inputs
from scanner.scan.plan.make_plan import APART, make_plan
from scanner.scan.plan.running import ONE_CORE, Execute, execute_here
from scanner.scan.preparation import PreparedScan, prepare
from scanner.scan.score_plan import score_plan
from scanner.storage import Store, skipped_lines

log = logging.getLogger("memscan.scan")

SHOWN = 5
POOL_FROM = 4


def scan(config: ScanConfig, progress: Watch) -> ScanResult:
    """Plan, score and seal; resumes an earlier call on the same directory.

    Choices and failures are logged; ``progress`` is called with the state at least every second.
    Raises UserError for errors that the user can correct.
    """
    return run_scan(open_scan(config), progress)


def run_scan(opened: OpenScan, progress: Watch, pool_from: int = POOL_FROM) -> ScanResult:
    """Do what :func:`scan` does, after :func:`open_scan`; ``pool_from``: see
    :func:`planning_executor`."""
    if opened.result:
        return opened.result
    config, run, record, inputs = opened.config, opened.run, opened.record, opened.inputs
    assert run is not None, "checked: a scan that is not a dry run has an output"
    model, plans = opened.model, list(opened.plans)
    if record and model.revision is None and record["model"]["name"] == model.name:
        # The hub may have a newer revision; a run keeps its first one.
        model = replace(model, revision=record["model"]["revision"])
    if not may_run_in_process(config.actors, config.address):
        for line in check_ray(config.address):  # before slow steps, to report errors early
            log.info(line)
    prepared = prepare(config, model)
    refuse_other_weights(config, prepared.scorer.model.weights)
    run.store.preflight()
    run.begin(run_record(prepared, opened.options_record, opened.inputs_record, inputs.skipped))
    planner = planning_executor(config.address, progress, pool_from)
    while not plans or inputs.files:
        try:
            plan = plan_scan(prepared, inputs, run.store, plans, planner)
        except UserError:
            run.abandon()
            raise
        plans.append(run.adopt(plan, len(plans)))
        # Another driver, or an earlier call, may have planned other files.
        inputs = choose_inputs(config, plans) if config.extend else Inputs()
    score_plan(prepared, run, Plan.joined(plans), progress)
    manifest = run.seal()
    for number in range(len(plans)):
        run.store.remove_folder(f"{planning_folder(number)}/spellings")
    return result_of(run, manifest, config)


def plan_scan(
    prepared: PreparedScan,
    inputs: Inputs,
    store: Store,
    earlier: Sequence[Plan] = (),
    run_items: Execute = execute_here,
) -> Plan:
    """Read the inputs into the store and return the plan.

    ``run_items``: runs the items of planning, by default in this process; see
    :func:`planning_executor`.
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
        log.info(
            f"{rejected:,} of {len(files):,} files are rejected; see the rejects for the reasons"
        )
    for line in skipped_lines(inputs.skipped.to_json()):
        log.info(line)
    plan = make_plan(
        inputs,
        store,
        prepared.make_canonical,
        prepared.slice_rows,
        config.limit,
        run_items,
        earlier,
    )
    log_notes(plan)
    counts = plan.counts
    log.info(
        f"planned: {counts['rows']:,} rows, {counts['rejects']:,} rejected, "
        f"{counts['captions']:,} distinct captions in {len(plan.slices):,} slices"
        f"{' (limited by --limit)' if config.limit else ''}"
    )
    return plan


def log_notes(plan: Plan) -> None:
    """Log the notes on files' data, those on most rows by name."""
    notes = [
        (number, note, file["url"])
        for file in plan.inputs
        for note, number in file.get("notes", {}).items()
    ]
    for number, note, url in sorted(notes, reverse=True)[:SHOWN]:
        log.info(f"{url}: {number:,} {note}")
    if len(notes) > SHOWN:
        log.info(f"… and {len(notes) - SHOWN} more notes, see plan.json")


def planning_executor(address: str | None, progress: Watch, pool_from: int = POOL_FROM) -> Execute:
    """Return a function that runs the items of planning: in this process, or from ``pool_from``
    items in a pool with all cores.

    Items of failed units always run in the pool, since they may end their process. While the pool
    of a cluster works, the autoscaler is asked for a CPU per item.
    """

    def run(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
        stage = commits.folder.rsplit("/", 1)[1]
        is_small = stage != APART
        in_process = InProcess[Item](lambda left: is_small and len(left) < pool_from)
        events = _PlanningEvents(PlanningProgress(stage, len(items)), progress, address)
        try:
            return execute(
                commits,
                items,
                make_work,
                ONE_CORE,
                address=address,
                in_process=in_process,
                execution=Execution(in_flight=1),
                on_event=events,
            )
        finally:
            events.close()

    return run


class _PlanningEvents:
    """Writes the events of planning to the log, calls ``progress``, and asks for CPUs."""

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
                    log.warning(f"planning: {problem}")
            return
        if isinstance(event, Tick):
            self.state.actors = event.actors
        elif isinstance(event, Committed):
            self.state.done += 1
        elif isinstance(event, Notice):
            log.info(f"planning: {event.message}")
        elif isinstance(event, Requeued | Quarantined):
            fields = {"slice": event.item.id, **event.location.fields()}
            log.warning(f"planning: {event.item.id} {event.reason}", extra=fields)
        self.progress(self.state)


def _choice(item: Input) -> str:
    if item.columns is None:
        return f"rejected: {item.problem}" if item.problem else "empty"
    chosen = item.columns
    parts = {
        "caption": chosen.caption,
        "key": chosen.key or "(file, row)",
        "image key": chosen.image_key or "none",
        "keep": ", ".join(chosen.keep) or "nothing",
    }
    role = "reference, " if item.is_reference else ""
    return role + ", ".join(f"{what} = {name}" for what, name in parts.items())
