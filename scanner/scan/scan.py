"""Run a scan from its options to a sealed run: plan, score, seal."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from scanner.cluster import check_ray, may_run_in_process
from scanner.errors import UserError
from scanner.run import Plan, Run
from scanner.run.compaction import Layout
from scanner.run.directory import planning_folder
from scanner.run.progress import Watch
from scanner.scan.config import ScanConfig
from scanner.scan.finishing import merge_and_check, remove_merged
from scanner.scan.input_choice import choose_inputs
from scanner.scan.opening import (
    OpenScan,
    open_scan,
    refuse_other_weights,
    run_record,
)
from scanner.scan.plan.from_run import plan_from_run
from scanner.scan.plan.image_pairs import PAIR_ROWS, REPEAT_ROWS
from scanner.scan.plan.inputs import Input, Inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.running import Execute, execute_here
from scanner.scan.plan.spellings import SPELLING_ROWS
from scanner.scan.preparation import PreparedScan, prepare
from scanner.scan.results import ScanResult, result_of
from scanner.scan.score_plan import BudgetUsed, score_plan
from scanner.scan.stages import POOL_FROM, planning_executor
from scanner.storage import Store, skipped_lines

log = logging.getLogger("memscan.scan")

SHOWN = 5


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
    for number, plan in enumerate(plans):
        run.summarize(plan, number)
    layout, is_whole = _score(prepared, run, Plan.joined(plans), progress)
    manifest = run.seal(layout, is_whole)
    remove_merged(run, manifest, config.address, progress)
    for number in range(len(plans)):
        for rows in (SPELLING_ROWS, PAIR_ROWS, REPEAT_ROWS):
            run.store.remove_folder(rows.kind(planning_folder(number)))
    return result_of(run, manifest, config)


def _score(prepared: PreparedScan, run: Run, plan: Plan, progress: Watch) -> tuple[Layout, bool]:
    """Score the plan, or as much as --budget-hours allow; return where the results are, and whether
    all slices were tried.

    Raises BudgetUsed if there are no results, or some are damaged.
    """
    config = prepared.config
    try:
        return score_plan(prepared, run, plan, progress), True
    except BudgetUsed as stopped:
        checked = merge_and_check(run, plan, config.address, progress, reads_all=config.repair)
        if checked.damaged:
            name, why = next(iter(checked.damaged.items()))
            raise BudgetUsed(
                f"{stopped}. It is not sealed, since slice {name} is damaged: {why}"
            ) from stopped
        if not (checked.layout.merged or checked.layout.single):
            raise
        log.warning(str(stopped))
        return checked.layout, False


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
        plan = plan_from_run(
            config.captions_from, config.where, store, rows, config.limit, config.order
        )
        log.info(f"planned: {plan.counts['captions']:,} captions flagged by {config.captions_from}")
        if left := plan.inputs[0].get("not_scanned"):
            log.warning(
                f"{config.captions_from} has no scores of {left:,} captions, which --budget-hours "
                "left: this scan does not have them either"
            )
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
        order=config.order,
    )
    log_notes(plan)
    counts = plan.counts
    pairs, noun = counts["pairs"], "rejected"
    if pairs > counts["rows"]:
        noun = f"of {pairs:,} captions of rows (rows times caption columns) rejected"
    log.info(
        f"planned: {counts['rows']:,} rows, {counts['rejects']:,} {noun}, "
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


def _choice(item: Input) -> str:
    if item.columns is None:
        return f"rejected: {item.problem}" if item.problem else "empty"
    chosen = item.columns
    parts = {
        "caption": ", ".join(chosen.captions),
        "key": chosen.key or "(file, row)",
        "image key": chosen.image_key or "none",
        "keep": ", ".join(chosen.keep) or "nothing",
    }
    role = "reference, " if item.is_reference else ""
    return role + ", ".join(f"{what} = {name}" for what, name in parts.items())
