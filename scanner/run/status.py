"""Progress of a run, computed from the files in its directory."""

import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.run.commits import READERS
from scanner.run.directory import Run, planning_folder
from scanner.run.json_files import PlanningRecord, QuarantineRecord
from scanner.run.progress import events_in, read_progress
from scanner.run.records import Plan, read_json
from scanner.storage import Store


def status(run: Run) -> dict[str, Any]:
    """Return what ``memscan status --json`` prints, from the plan, commits and manifest.

    Only speed, time left and running slices are from progress.json, which may be out of date.
    """
    plans, manifest, record = run.plans(), run.manifest(), run.record() or {}
    plan = Plan.joined(plans) if plans else None
    commits = run.commits.all()
    state = read_progress(run)
    quarantined = [name for name in run.store.names("quarantine") if name.endswith(".json")]
    finished = {commit.slice for commit in commits}
    stuck = {name.split("/")[1].removesuffix(".json") for name in quarantined} - finished
    rejects = list(plan.rejects) if plan else []
    rejects += [p.path for c in commits for p in c.parts if p.kind == "rejects"]
    scored = sum(commit.rows("scores") for commit in commits)
    rejected = sum(commit.rows("rejects") for commit in commits)
    planned = plan.counts["captions"] if plan else 0
    rate = state.get("captions_per_second", 0.0)
    stale = time.time() - state.get("updated", 0.0) > 30 or manifest is not None
    running = {} if stale else state.get("running", {})
    computed = sum(count for name, count in running.items() if name not in finished)
    left = max(0, planned - scored - rejected - computed)
    return {
        "slices": {
            "planned": len(plan.slices) if plan else 0,
            "committed": len(commits),
            "running": len(running),
            "quarantined": len(stuck),
        },
        "captions": planned,
        "samples": plan.counts["samples"] if plan else 0,
        "reference_samples": plan.counts.get("reference_samples", 0) if plan else 0,
        "limit": record.get("inputs", {}).get("limit"),
        "skipped": plan.skipped if plan else record.get("skipped", {}),
        "scored": scored,
        "captions_running": computed,
        "rejects": count_reasons(run.store, rejects),
        "captions_per_second": rate,
        "eta_seconds": 0.0 if manifest else _eta(plan is not None, left, 0.0 if stale else rate),
        "sealed": manifest is not None,
        "actors": 0 if stale else state.get("actors", 0),
        "quarantined": {name: _reason(run, name) for name in sorted(stuck)},
        "out_of_service": [] if stale else list(state.get("out_of_service", [])),
        "events": events_in(state),
        "planning": _planning(run, len(plans)),
    }


def _planning(run: Run, generation: int) -> dict[str, int | None] | None:
    """Return the progress of the next generation of the plan: units of the input files read, and
    ranges of caption ids grouped. None if the run has a plan and is not being extended."""
    folder = planning_folder(generation)
    frozen = f"{folder}/inputs.json"
    has_started = run.store.exists(frozen)
    if generation and not has_started:
        return None
    units = len(read_json(run.store, frozen, PlanningRecord)["units"]) if has_started else None
    return {
        "units": units,
        "units_read": len(run.store.names(f"{folder}/read")),
        "ranges_grouped": len(run.store.names(f"{folder}/group")),
    }


def _eta(planned: bool, left: int, rate: float) -> float | None:
    """Return the seconds left; None before planning is done, and while no scan is running."""
    return left / rate if planned and rate else None


def _reason(run: Run, slice_id: str) -> str:
    return read_json(run.store, f"quarantine/{slice_id}.json", QuarantineRecord)["reason"]


def count_reasons(store: Store, rejects: Iterable[str]) -> dict[str, int]:
    """Count the rejects in these files by reason, most frequent first.

    A file that could not be read counts as one reject.
    """

    def count(name: str) -> list[dict[str, Any]]:
        with store.open(name) as file:
            reasons = pc.value_counts(pq.read_table(file, columns=["reason"])["reason"])
        return reasons.to_pylist()

    counts: Counter[str] = Counter()
    # In parallel: many small files, in a store with high latency.
    with ThreadPoolExecutor(READERS) as threads:
        for reasons in threads.map(count, rejects):
            for item in reasons:
                counts[item["values"].split(":")[0]] += item["counts"]
    return dict(counts.most_common())
