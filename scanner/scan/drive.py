"""Drive a scan from its options to a sealed run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from scanner.cluster import Event, run_slices, start_ray
from scanner.models import canonical, load_tokenizer
from scanner.run import Plan, Run
from scanner.run.progress import Progress
from scanner.run.records import encode
from scanner.scan.cascade import plan_from_run
from scanner.scan.config import ScanConfig
from scanner.scan.inputs import Input, choose_inputs
from scanner.scan.planning import make_plan
from scanner.scan.setting import Say, Setting, asked_of, prepare, record_of, what_is_scanned
from scanner.storage import Store

SHOWN = 5
SAY_SECONDS = 10.0
SAVE_SECONDS = 5.0


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
    if there and there["inputs"] == wanted and there["asked"] == asked and run.is_finished():
        say(f"{config.out} is finished already")
        return _result(run, run.manifest() or {}, config)
    if there and config.revision is None and there["model"]["name"] == config.model:
        # The hub's newest revision may have moved on; a run stays with the one it began with.
        config = replace(config, revision=there["model"]["revision"])
    planned = run.plan()
    # Before the model loads, so that errors show early.
    inputs = [] if planned else choose_inputs(config)
    setting = prepare(config, say)
    run.store.preflight()
    run.begin(record_of(setting, asked, wanted))
    plan = planned or run.adopt(plan_scan(setting, inputs, run.store, say))
    _score(setting, run, plan, say, progress)
    return _result(run, run.seal(), config)


def plan_scan(setting: Setting, inputs: list[Input], store: Store, say: Say) -> Plan:
    """Read the inputs into the store and describe what there is to score."""
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
    last = time.monotonic()

    def progress(rows: int) -> None:
        nonlocal last
        if time.monotonic() - last > SAY_SECONDS:
            say(f"planning: {rows:,} rows read")
            last = time.monotonic()

    tokenizer = load_tokenizer(setting.files)
    plan = make_plan(
        inputs,
        store,
        lambda caption: canonical(tokenizer, caption),
        setting.slice_rows,
        setting.config.limit,
        progress,
    )
    counts = plan.counts
    say(
        f"planned: {counts['rows']:,} rows, {counts['rejects']:,} rejected, "
        f"{counts['captions']:,} distinct captions in {len(plan.slices):,} slices"
    )
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
    """Score the slices that nobody has committed."""
    done = run.committed()
    left = [item for item in plan.slices if item.id not in done]
    state = Progress(len(plan.slices), plan.counts["captions"], started=time.time())
    state.committed = len(plan.slices) - len(left)
    state.captions_done = state.done_before = state.captions - sum(item.rows for item in left)
    if state.committed:
        say(f"going on: {state.committed} of {state.slices} slices are committed")
    if not left:
        return
    record = run.record()
    assert record is not None
    start_ray(setting.config.address)
    last = 0.0
    for event in run_slices(
        run, left, setting.work(run.store), record["fingerprint"]["id"], setting.resources
    ):
        _note(event, run, state, say)
        if time.monotonic() - last > SAVE_SECONDS or event.kind != "tick":
            state.save(run)
            last = time.monotonic()
        state.updated = time.time()
        progress(state)
    state.save(run)


def _note(event: Event, run: Run, state: Progress, say: Say) -> None:
    state.running = event.running if event.kind == "tick" else state.running
    if event.slice is None:
        if event.reason:
            say(event.reason)
        return
    if event.kind == "commit":
        state.committed += 1
        state.captions_done += event.slice.rows
    elif event.kind == "retry":
        say(f"slice {event.slice.id} failed and goes back in line: {event.reason}")
    elif event.kind == "quarantine":
        state.quarantined += 1
        say(f"slice {event.slice.id} is quarantined: {event.reason}")
        record = {"slice": event.slice.id, "captions": event.slice.rows, "reason": event.reason}
        run.store.write(f"quarantine/{event.slice.id}.json", encode(record))


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
    for what, of in (("rejects", "rows"), ("scan_rejects", "captions")):
        if counts[what] > config.max_reject_fraction * counts[of]:
            complaints.append(f"{counts[what]:,} of {counts[of]:,} {of} were rejected")
    return ScanResult(config.out, manifest, tuple(complaints))
