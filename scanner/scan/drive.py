"""Drive a scan from its options to a sealed run."""

import logging
from dataclasses import replace
from typing import Any

from scanner.cluster import check_ray, may_run_in_process
from scanner.errors import UserError
from scanner.run import Plan, Run
from scanner.run.directory import planning_folder
from scanner.run.progress import Watch
from scanner.scan.config import ScanConfig
from scanner.scan.inherited import log_inherited, refuse_other_weights, with_model
from scanner.scan.plan.inputs import Inputs, choose_inputs, unread_inputs
from scanner.scan.plan_scan import plan_scan, planning_executor
from scanner.scan.record import asked_of, record_of, what_is_scanned
from scanner.scan.result import ScanResult, finished, result_of
from scanner.scan.score_plan import score_plan
from scanner.scan.setting import prepare
from scanner.storage import Store

log = logging.getLogger("memscan.scan")


def scan(config: ScanConfig, progress: Watch, inputs: Inputs | None = None) -> ScanResult:
    """Plan, score and seal; goes on where an earlier call on the same directory stopped.

    ``inputs``: the files to read, where :func:`unread_inputs` has been called already.
    What is chosen and what goes wrong is logged; ``progress`` is called with how far it is, at
    least every second. Raises UserError for what the user has to mend.
    """
    config.check()
    if done := finished(config):
        return done
    given, config = config, with_model(config)
    log_inherited(given, config)
    run = Run(Store(config.out, config.single_writer))
    wanted = what_is_scanned(config)
    there = run.record()
    asked = asked_of(config)
    if config.extend:
        wanted = _as_it_began(there, wanted, config)
    if there and config.revision is None and there["model"]["name"] == config.model:
        # The hub's newest revision may have moved on; a run stays with the one it began with.
        config = replace(config, revision=there["model"]["revision"])
    plans = run.plans()
    if inputs is None:
        inputs = unread_inputs(config)
    if config.extend and not inputs.files and run.is_finished() and not config.repair:
        log.info(f"{config.out} has read these files already")
        return result_of(run, run.manifest() or {}, config)
    if not may_run_in_process(config.actors, config.address):
        for line in check_ray(config.address):  # before what takes long, so that errors show early
            log.info(line)
    setting = prepare(config)
    refuse_other_weights(given, setting.scorer.model.weights)
    run.store.preflight()
    run.begin(record_of(setting, asked, wanted, inputs.skipped))
    planner = planning_executor(config.address, progress)
    while not plans or inputs.files:
        try:
            plan = plan_scan(setting, inputs, run.store, plans, planner)
        except UserError:
            run.abandon()
            raise
        plans.append(run.adopt(plan, len(plans)))
        # Another driver, or this one before it was killed, may have planned other files.
        inputs = choose_inputs(config, plans) if config.extend else Inputs()
    score_plan(setting, run, Plan.joined(plans), progress)
    manifest = run.seal()
    for number in range(len(plans)):
        run.store.remove_folder(f"{planning_folder(number)}/spellings")
    return result_of(run, manifest, config)


def _as_it_began(
    there: dict[str, Any] | None, wanted: dict[str, Any], config: ScanConfig
) -> dict[str, Any]:
    """An extended run's record keeps the inputs that it began with, and how their columns are
    called; the plan has the others."""
    if there is None:
        raise UserError(f"{config.out}: no run here to extend; leave out --extend to begin one")
    began = there["inputs"]
    for name in ("captions_from", "limit"):
        if began[name]:
            flag = name.replace("_", "-")
            raise UserError(
                f"{config.out}: a run of --{flag} cannot be extended; begin another without it"
            )
    # How the files added are read is their plan's business.
    kept = ("captions", "reference", "caption_column", "key_column", "image_key", "quoting")
    others = {name: one for name, one in wanted.items() if name not in kept}
    return others | {name: began[name] for name in kept if name in began}
