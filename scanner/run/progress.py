"""How far a run is: for people and ``memscan status``; nothing depends on it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner.run.directory import Run
from scanner.run.records import encode, read_json

REMEMBERED = 100


@dataclass
class Progress:
    """Counts of slices and captions; ``done_before`` were committed by earlier drivers.

    ``happened``: what went otherwise than planned, the last ``REMEMBERED`` lines, also of earlier
    drivers of the run.
    """

    slices: int
    captions: int
    committed: int = 0
    captions_done: int = 0
    done_before: int = 0
    quarantined: int = 0
    running: tuple[str, ...] = ()
    actors: int = 0
    started: float = 0.0
    updated: float = 0.0
    happened: list[str] = field(default_factory=list)

    @property
    def captions_per_second(self) -> float:
        """Since this driver's start."""
        seconds = self.updated - self.started
        return (self.captions_done - self.done_before) / seconds if seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        rate = self.captions_per_second
        return (self.captions - self.captions_done) / rate if rate > 0 else None

    def remember(self, line: str) -> None:
        """Add a line to what happened, with the time."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.happened = [*self.happened, f"{now} {line}"][-REMEMBERED:]

    def save(self, run: Run) -> None:
        self.updated = time.time()
        record = asdict(self) | {"captions_per_second": self.captions_per_second}
        run.store.write("progress.json", encode(record))


@dataclass
class PlanningProgress:
    """Items of a stage of planning: ``read`` (units of input files), ``group`` (ranges of ids)."""

    stage: str
    items: int
    done: int = 0
    actors: int = 0


# Hears how far a scan is, at least every second.
Watch = Callable[[Progress | PlanningProgress], None]


def status(run: Run) -> dict[str, Any]:
    """What ``memscan status --json`` prints: read from plan, commits and manifest, so always true.

    Only speed, time left and what is running come from progress.json, as the driver last saw it.
    """
    plan, manifest = run.plan(), run.manifest()
    commits = run.commits.all()
    seen = last_seen(run)
    quarantined = [name for name in run.store.names("quarantine") if name.endswith(".json")]
    finished = {commit.slice for commit in commits}
    stuck = {name.split("/")[1].removesuffix(".json") for name in quarantined} - finished
    scored = sum(commit.rows("scores") for commit in commits)
    rejected = sum(commit.rows("rejects") for commit in commits)
    planned = plan.counts["captions"] if plan else 0
    rate = seen.get("captions_per_second", 0.0)
    left = planned - scored - rejected
    stale = time.time() - seen.get("updated", 0.0) > 30 or manifest is not None
    return {
        "slices": {
            "planned": len(plan.slices) if plan else 0,
            "committed": len(commits),
            "running": 0 if stale else len(seen.get("running", ())),
            "quarantined": len(stuck),
        },
        "captions": planned,
        "samples": plan.counts["samples"] if plan else 0,
        "scored": scored,
        "rejects": _reasons(run),
        "captions_per_second": rate,
        "eta_seconds": _eta(plan is not None, left, 0.0 if stale else rate),
        "sealed": manifest is not None,
        "actors": 0 if stale else seen.get("actors", 0),
        "quarantined": {name: _reason(run, name) for name in sorted(stuck)},
        "happened": seen.get("happened", []),
        "planning": None if plan else _planning(run),
    }


def last_seen(run: Run) -> dict[str, Any]:
    """progress.json, as the last driver left it; {} where there is none."""
    if not run.store.exists("progress.json"):
        return {}
    return read_json(run.store, "progress.json")


def _planning(run: Run) -> dict[str, int | None]:
    """How far the plan is: units of the input files read, ranges of caption ids grouped."""
    frozen = "planning/0000/inputs.json"
    units = None
    if run.store.exists(frozen):
        units = len(read_json(run.store, frozen, "units")["units"])
    return {
        "units": units,
        "units_read": len(run.store.names("planning/0000/read")),
        "ranges_grouped": len(run.store.names("planning/0000/group")),
    }


def _eta(planned: bool, left: int, rate: float) -> float | None:
    """None before there is a plan, and while no scan is running."""
    if planned and left == 0:
        return 0.0
    return left / rate if planned and rate else None


def _reason(run: Run, slice_id: str) -> str:
    return read_json(run.store, f"quarantine/{slice_id}.json", "reason")["reason"]


def _reasons(run: Run) -> dict[str, int]:
    """How many rejects of each reason, over the plan and the commits."""
    plan = run.plan()
    names = list(plan.rejects) if plan else []
    names += [p.path for c in run.commits.all() for p in c.parts if p.kind == "rejects"]
    counts: dict[str, int] = {}
    for name in names:
        with run.store.open(name) as file:
            found = pc.value_counts(pq.read_table(file, columns=["reason"])["reason"])
        for item in found.to_pylist():
            reason = item["values"].split(":")[0]
            counts[reason] = counts.get(reason, 0) + item["counts"]
    return counts
