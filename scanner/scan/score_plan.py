"""Score the slices of a plan until all are committed, their small parts merged, none damaged."""

import logging
import time
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from scanner.cluster import (
    Committed,
    Event,
    Execution,
    Notice,
    Quarantined,
    Requeued,
    Started,
    Tick,
    execute,
)
from scanner.errors import UserError
from scanner.run import Plan, Run, Slice
from scanner.run.compaction import DEFAULT_SIZES, GroupSizes, Layout
from scanner.run.progress import Progress, Watch, hours_unit, read_progress
from scanner.run.records import DamagedFile, encode
from scanner.scan.finishing import merge_and_check
from scanner.scan.metrics import ProgressMetrics, scoring_tags
from scanner.scan.preparation import PreparedScan

log = logging.getLogger("memscan.scan")

SAVE_SECONDS = 5.0
# Of scoring: the first one, and those that repair damaged parts.
ROUNDS = 3


def score_plan(
    prepared: PreparedScan,
    run: Run,
    plan: Plan,
    progress: Watch,
    execution: Execution | None = None,
    sizes: GroupSizes = DEFAULT_SIZES,
) -> Layout:
    """Score the slices that are not committed, merge small parts, and score slices with damaged
    parts again; return where the results are.

    ``sizes``: which parts are merged. With ``--repair``, all parts are read. Raises UserError if
    parts are still damaged after the repairs, or if ``--budget-hours`` are used up.
    """
    commits, config = run.commits, prepared.config
    scoring = _ScoringEvents(
        run,
        plan,
        progress,
        prepared.resources.gpus,
        config.budget_hours,
        ProgressMetrics(run.store.url, config.scoring_spec),
    )
    tagged = replace(execution or Execution(), tags=scoring_tags(config.scoring_spec))
    items, generations = plan.slices, dict[str, int]()
    slices, tiers = {item.id: item for item in plan.slices}, plan.tier_of()
    for round_ in range(ROUNDS):
        try:
            execute(
                commits,
                items,
                prepared.work(run.store),
                prepared.resources,
                address=config.address,
                in_process=prepared.in_process(run.store),
                generations=generations,
                tiers=tiers,
                execution=tagged,
                on_event=scoring,
            )
        except (KeyboardInterrupt, BudgetUsed):
            scoring.state.stop(run)
            raise
        scoring.finish()
        reads_all = config.repair and not round_
        checked = merge_and_check(run, plan, config.address, progress, sizes, reads_all)
        damaged = checked.damaged
        if not damaged:
            return checked.layout
        scoring.record_damage(damaged)
        done = commits.done()
        generations = {name: done.get(name, -1) + 1 for name in damaged if name in slices}
        items = tuple(slices[name] for name in generations)
    raise UserError(
        f"{run.store.url}: damaged again after {ROUNDS - 1} repairs: "
        f"{next(iter(damaged.values()))}; check the store"
    )


class BudgetUsed(UserError):
    """Scoring has taken as many hours as ``--budget-hours`` allows."""


class _ScoringEvents:
    """Writes the events of scoring to the log and to progress.json, and calls ``progress``.

    ``gpus``: that an actor takes, 0 on the CPU; ``budget_hours``: raises BudgetUsed after these.
    """

    def __init__(
        self,
        run: Run,
        plan: Plan,
        progress: Watch,
        gpus: float = 0.0,
        budget_hours: float | None = None,
        metrics: ProgressMetrics | None = None,
    ) -> None:
        self.run, self.progress, self._metrics = run, progress, metrics
        earlier = _earlier_progress(run)
        self.state = Progress(
            len(plan.slices),
            plan.counts["captions"],
            rejects=earlier.get("rejects", {}),
            events=earlier.get("events", []),
            device_seconds=earlier.get("device_seconds", 0.0),
            device_share=gpus or 1.0,
            device_kind="GPU" if gpus else "CPU",
        )
        self._budget_hours = budget_hours
        self._ticked_at: float | None = None
        self._saved_at = 0.0
        self._is_repairing = self._has_scored = False

    def __call__(self, event: Event[Slice]) -> None:
        if isinstance(event, Started):
            self._start(event)
            return
        self._follow(event)
        is_urgent = isinstance(event, Quarantined)
        if is_urgent or time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.state.save(self.run)
            self._saved_at = time.monotonic()
        self.state.updated = time.time()
        self.progress(self.state)
        if self._metrics:
            self._metrics.record(self.state)
        self._check_budget()

    def finish(self) -> None:
        """Save that no slice is running."""
        if self._has_scored:
            self.state.running = {}
            self.state.save(self.run)

    def record(self, line: str, level: int = logging.INFO, **fields: str) -> None:
        """Log a line, and add it to the events that ``memscan status`` shows."""
        log.log(level, line, extra={"run": self.run.store.url, **fields})
        self.state.remember(line)

    def record_damage(self, damaged: dict[str, str]) -> None:
        """Record the slices to score again, and why; those of one merged part in one line."""
        for problem, pairs in groupby(sorted(damaged.items(), key=itemgetter(1)), itemgetter(1)):
            first, *others = [name for name, _ in pairs]
            more = f" and {len(others)} more" if others else ""
            line = f"scoring slice {first}{more} again: {problem}"
            self.record(line, logging.WARNING, slice=first)

    def _start(self, event: Started[Slice]) -> None:
        """Count the committed slices; before repairs, subtract the damaged ones."""
        state, left = self.state, event.items
        rows = sum(item.rows for item in left)
        if self._is_repairing:
            state.committed -= len(left)
            state.captions_done -= rows
        else:
            state.committed = state.slices - len(left)
            state.captions_done = state.done_before = state.captions - rows
        self._has_scored = bool(left)
        if state.committed and not self._is_repairing:
            self.record(f"resuming: {state.committed} of {state.slices} slices are committed")
        self._is_repairing = True
        self._ticked_at = None
        if left:
            self._check_budget()
            loads = "in this process" if event.in_process else "each actor loads the model"
            log.info(f"{len(left):,} slices to score; {loads}")
            self.progress(state)

    def _count_device_seconds(self) -> None:
        """Add the time since the last Tick, for the actors that held a device then."""
        state, now = self.state, time.monotonic()
        if self._ticked_at is not None:
            state.device_seconds += (now - self._ticked_at) * state.placed * state.device_share
        self._ticked_at = now

    def _check_budget(self) -> None:
        state, budget = self.state, self._budget_hours
        if budget is None or state.device_hours < budget:
            return
        raise BudgetUsed(
            f"{self.run.store.url}: stopped by --budget-hours {budget:g}: {state.device_hours:.3g} "
            f"{hours_unit(state.device_kind)} are used, and {state.captions_done:,} of "
            f"{state.captions:,} captions are in committed slices; rerun with a larger "
            "--budget-hours, or without it, to resume"
        )

    def _follow(self, event: Event[Slice]) -> None:
        state = self.state
        if isinstance(event, Tick):
            self._count_device_seconds()
            state.running, state.actors, state.placed = event.running, event.actors, event.placed
            state.out_of_service = event.out_of_service
            if state.actors and not state.started:
                state.started = time.time()
        elif isinstance(event, Committed):
            state.committed += 1
            state.captions_done += event.item.rows
            state.running.pop(event.item.id, None)
            for reason, number in event.commit.notes.get("reasons", {}).items():
                state.rejects[reason] = state.rejects.get(reason, 0) + number
        elif isinstance(event, Notice):
            self.record(event.message)
        elif isinstance(event, Requeued):
            line = f"slice {event.item.id} failed, requeued: {event.reason}"
            self.record(line, logging.WARNING, slice=event.item.id, **event.location.fields())
        elif isinstance(event, Quarantined):
            item = event.item
            state.quarantined += 1
            line = f"slice {item.id} is quarantined: {event.reason}"
            self.record(line, logging.ERROR, slice=item.id, **event.location.fields())
            record = {
                "slice": item.id,
                "captions": item.rows,
                "reason": event.reason,
                **event.location.fields(),
                "environment": event.location.environment,
                "traceback": event.traceback,
            }
            self.run.store.write(f"quarantine/{item.id}.json", encode(record))


def _earlier_progress(run: Run) -> dict[str, Any]:
    """Return what earlier drivers left; if progress.json is damaged, start a new one."""
    try:
        return read_progress(run)
    except DamagedFile as error:
        log.warning(f"starting a new progress.json: {error}")
        run.store.remove("progress.json")
        return {}
