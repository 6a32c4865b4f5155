"""How far a run is, by what is in its directory."""

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
from scanner.run.progress import events_of, last_seen
from scanner.run.records import Plan, read_json
from scanner.storage import Store


def status(run: Run) -> dict[str, Any]:
    """What ``memscan status --json`` prints: read from plan, commits and manifest, so always true.

    Only speed, time left and what is running come from progress.json, as the driver last saw it.
    """
    plans, manifest, record = run.plans(), run.manifest(), run.record() or {}
    plan = Plan.joined(plans) if plans else None
    commits = run.commits.all()
    seen = last_seen(run)
    quarantined = [name for name in run.store.names("quarantine") if name.endswith(".json")]
    finished = {commit.slice for commit in commits}
    stuck = {name.split("/")[1].removesuffix(".json") for name in quarantined} - finished
    rejects = list(plan.rejects) if plan else []
    rejects += [p.path for c in commits for p in c.parts if p.kind == "rejects"]
    scored = sum(commit.rows("scores") for commit in commits)
    rejected = sum(commit.rows("rejects") for commit in commits)
    planned = plan.counts["captions"] if plan else 0
    rate = seen.get("captions_per_second", 0.0)
    stale = time.time() - seen.get("updated", 0.0) > 30 or manifest is not None
    running = {} if stale else seen.get("running", {})
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
        "actors": 0 if stale else seen.get("actors", 0),
        "quarantined": {name: _reason(run, name) for name in sorted(stuck)},
        "events": events_of(seen),
        "planning": _planning(run, len(plans)),
    }


def _planning(run: Run, generation: int) -> dict[str, int | None] | None:
    """How far the next generation of the plan is: units of the input files read, ranges of caption
    ids grouped; None where there is a plan and nothing is being added to it."""
    folder = planning_folder(generation)
    frozen = f"{folder}/inputs.json"
    begun = run.store.exists(frozen)
    if generation and not begun:
        return None
    units = len(read_json(run.store, frozen, PlanningRecord)["units"]) if begun else None
    return {
        "units": units,
        "units_read": len(run.store.names(f"{folder}/read")),
        "ranges_grouped": len(run.store.names(f"{folder}/group")),
    }


def _eta(planned: bool, left: int, rate: float) -> float | None:
    """None before there is a plan, and while no scan is running."""
    return left / rate if planned and rate else None


def _reason(run: Run, slice_id: str) -> str:
    return read_json(run.store, f"quarantine/{slice_id}.json", QuarantineRecord)["reason"]


def count_reasons(store: Store, rejects: Iterable[str]) -> dict[str, int]:
    """How many rejects of each reason, the commonest first, in these files of a store; a file that
    could not be read is one."""

    def count(name: str) -> list[dict[str, Any]]:
        with store.open(name) as file:
            found = pc.value_counts(pq.read_table(file, columns=["reason"])["reason"])
        return found.to_pylist()

    counts: Counter[str] = Counter()
    # Many small files, and a store takes long to answer.
    with ThreadPoolExecutor(READERS) as threads:
        for found in threads.map(count, rejects):
            for item in found:
                counts[item["values"].split(":")[0]] += item["counts"]
    return dict(counts.most_common())
