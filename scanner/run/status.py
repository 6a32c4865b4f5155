"""Progress of a run, computed from the files in its directory."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.run.directory import PURGE_JOURNAL, Run, is_complete, planning_folder
from scanner.run.json_files import PlanningRecord, QuarantineRecord
from scanner.run.progress import read_progress
from scanner.run.records import read_json
from scanner.run.sealing import is_in_part
from scanner.run.summary import PlanSummary, joined_skipped

STALE_SECONDS = 30
# The names of merges begin with their level.
_MERGE_LEVEL = re.compile(r"(\d{1,9})-")


@dataclass(frozen=True)
class _Committed:
    """What the committed slices hold; see :func:`status` for ``is_estimated``.

    ``ids``: the committed slices; ``stuck``: quarantined ones that are not committed.
    """

    slices: int
    scored: int
    rejected: int
    rejects: dict[str, int]
    is_estimated: bool = False
    ids: frozenset[str] = frozenset()
    stuck: tuple[str, ...] = ()


def status(run: Run) -> dict[str, Any]:
    """Return what ``memscan status --json`` prints, from a listing of the commits and a few small
    files; reads no commit.

    A sealed run's counts are those of its manifest; ``usable`` is the number of captions whose
    scores commands read, also of a run that is sealed in part. ``is_active``: a scan reported its
    progress in the last STALE_SECONDS, ``silent_seconds`` ago. Before, the committed slices and
    their captions are exact; which of these captions were rejected is from progress.json, and
    ``estimated`` says whether it lags behind. Speed, time left and running slices are from
    progress.json too.
    """
    newest, record, state = run.manifest(), run.record() or {}, read_progress(run)
    manifest = None if newest and is_in_part(newest) else newest
    plans = run.summaries()
    counts: Counter[str] = sum((Counter(plan.counts) for plan in plans), Counter())
    is_finished = manifest is not None and is_complete(manifest, plans)
    if manifest is not None and is_finished:
        committed = _of_manifest(run, plans, manifest)
    else:
        committed = _of_listing(run, plans, state)
    stuck = committed.stuck
    rate = state.get("captions_per_second", 0.0)
    silent = time.time() - state["updated"] if state.get("updated") and not is_finished else None
    stale = silent is None or silent > STALE_SECONDS
    running = {} if stale else state.get("running", {})
    computed = sum(count for name, count in running.items() if name not in committed.ids)
    left = max(0, counts["captions"] - committed.scored - committed.rejected - computed)
    eta = 0.0 if manifest else _eta(bool(plans), left, 0.0 if stale else rate)
    return {
        "slices": {
            "planned": sum(plan.slices for plan in plans),
            "committed": committed.slices,
            "running": len(running),
            "quarantined": len(stuck),
        },
        "captions": counts["captions"],
        "samples": counts["samples"],
        "reference_samples": counts["reference_samples"],
        "limit": record.get("inputs", {}).get("limit"),
        "skipped": joined_skipped(plans) if plans else record.get("skipped", {}),
        "scored": committed.scored,
        "captions_running": computed,
        "rejects": committed.rejects,
        "estimated": committed.is_estimated,
        "captions_per_second": rate,
        "eta_seconds": eta,
        "sealed": manifest is not None,
        "is_active": not stale,
        "silent_seconds": silent,
        "purge_interrupted": run.store.exists(PURGE_JOURNAL),
        "usable": newest["counts"]["scored"] if newest else 0,
        **_device_hours(state, eta),
        "actors": 0 if stale else state.get("actors", 0),
        "quarantined": {name: _reason(run, name) for name in stuck},
        "out_of_service": [] if stale else list(state.get("out_of_service", [])),
        "events": state.get("events", []),
        "planning": _planning(run, len(plans)),
    }


def _device_hours(state: dict[str, Any], eta_seconds: float | None) -> dict[str, Any]:
    """Return the hours of devices that scoring has taken, and will take with as many actors as now.

    ``device_hours`` is None for a run of a version that did not record it, ``device_hours_left``
    while nothing runs. On the CPU the hours are those of actors.
    """
    if "device_seconds" not in state:
        return dict.fromkeys(("device_hours", "device_hours_left", "device_kind"))
    per_second = state.get("placed", 0) * state.get("device_share", 1.0)
    left = None if eta_seconds is None else eta_seconds * per_second / 3600
    return {
        "device_hours": state["device_seconds"] / 3600,
        "device_hours_left": left,
        "device_kind": state.get("device_kind", "CPU"),
    }


def _of_manifest(run: Run, plans: Sequence[PlanSummary], manifest: dict[str, Any]) -> _Committed:
    counts = manifest["counts"]
    reasons = manifest["reject_reasons"]
    slices = sum(plan.slices for plan in plans)
    return _Committed(slices, counts["scored"], counts["scan_rejects"], reasons)


def _of_listing(run: Run, plans: Sequence[PlanSummary], state: dict[str, Any]) -> _Committed:
    ids = frozenset(run.commits.done())
    found = [plan.committed(ids) for plan in plans]
    captions = sum(captions for _, captions in found)
    rejects = Counter(state.get("rejects", {}))
    rejected = min(rejects.total(), captions)
    for plan in plans:
        rejects.update(plan.reasons)
    stuck = run.quarantined() - ids
    return _Committed(
        slices=len(ids),
        scored=captions - rejected,
        rejected=rejected,
        rejects=dict(rejects.most_common()),
        is_estimated=bool(ids) and state.get("committed") != len(ids),
        ids=ids,
        stuck=tuple(sorted(stuck)),
    )


def _planning(run: Run, generation: int) -> dict[str, int | None] | None:
    """Return the progress of the next generation of the plan: units of the input files read, ranges
    of caption ids merged (on all levels, and the highest level so far, 0 before any) and grouped;
    samples files read for their images and ranges of image ids grouped, 0 unless the order depends
    on images. None if the run has a plan and is not being extended."""
    folder = planning_folder(generation)
    frozen = f"{folder}/inputs.json"
    has_started = run.store.exists(frozen)
    if generation and not has_started:
        return None
    units = len(read_json(run.store, frozen, PlanningRecord)["units"]) if has_started else None
    merged = run.store.names(f"{folder}/merge")
    levels = (match for name in merged if (match := _MERGE_LEVEL.match(name.rsplit("/", 1)[1])))
    return {
        "units": units,
        "units_read": len(run.store.names(f"{folder}/read")),
        "ranges_merged": len(merged),
        "merge_level": max((int(match[1]) for match in levels), default=0),
        "image_files_read": len(run.store.names(f"{folder}/image_read")),
        "image_ranges_grouped": len(run.store.names(f"{folder}/image_group")),
        "ranges_grouped": len(run.store.names(f"{folder}/group")),
    }


def _eta(planned: bool, left: int, rate: float) -> float | None:
    """Return the seconds left; None before planning is done, and while no scan is running."""
    return left / rate if planned and rate else None


def _reason(run: Run, slice_id: str) -> str:
    return read_json(run.store, f"quarantine/{slice_id}.json", QuarantineRecord)["reason"]
