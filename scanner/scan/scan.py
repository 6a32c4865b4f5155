"""Run a scan from its options to a sealed run."""

from dataclasses import replace

from scanner.cluster import check_ray, may_run_in_process
from scanner.errors import UserError
from scanner.run import Plan
from scanner.run.directory import planning_folder
from scanner.run.progress import Watch
from scanner.scan.config import ScanConfig
from scanner.scan.opening import OpenScan, ScanResult, log, open_scan, result_of
from scanner.scan.plan.inputs import Inputs, choose_inputs
from scanner.scan.plan_scan import plan_scan, planning_executor
from scanner.scan.preparation import prepare
from scanner.scan.record import refuse_other_weights, run_record
from scanner.scan.score_plan import score_plan


def scan(config: ScanConfig, progress: Watch) -> ScanResult:
    """Plan, score and seal; resumes where an earlier call on the same directory stopped.

    Choices and failures are logged; ``progress`` is called with the state at least every second.
    Raises UserError for what the user has to correct.
    """
    return run_scan(open_scan(config), progress)


def run_scan(opened: OpenScan, progress: Watch) -> ScanResult:
    """Do what :func:`scan` does, after :func:`open_scan`."""
    if opened.result:
        return opened.result
    config, run, record, inputs = opened.config, opened.run, opened.record, opened.inputs
    assert run is not None, "checked: a scan that is no dry run has an output"
    model, plans = opened.model, list(opened.plans)
    if record and model.revision is None and record["model"]["name"] == model.name:
        # The newest revision on the hub may have changed; a run keeps the one it started with.
        model = replace(model, revision=record["model"]["revision"])
    if not may_run_in_process(config.actors, config.address):
        for line in check_ray(config.address):  # before what takes long, to report errors early
            log.info(line)
    prepared = prepare(config, model)
    refuse_other_weights(config, prepared.scorer.model.weights)
    run.store.preflight()
    run.begin(run_record(prepared, opened.options_record, opened.inputs_record, inputs.skipped))
    planner = planning_executor(config.address, progress)
    while not plans or inputs.files:
        try:
            plan = plan_scan(prepared, inputs, run.store, plans, planner)
        except UserError:
            run.abandon()
            raise
        plans.append(run.adopt(plan, len(plans)))
        # Another driver, or this one before it was killed, may have planned other files.
        inputs = choose_inputs(config, plans) if config.extend else Inputs()
    score_plan(prepared, run, Plan.joined(plans), progress)
    manifest = run.seal()
    for number in range(len(plans)):
        run.store.remove_folder(f"{planning_folder(number)}/spellings")
    return result_of(run, manifest, config)
