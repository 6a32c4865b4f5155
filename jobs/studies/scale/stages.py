"""Measure each stage of a scan's driver on a simulated store, in a separate process."""

import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.studies.scale.simulated import SimulatedStore, Size
from scanner.cluster import Event, Result, Started, execute
from scanner.query import open_run
from scanner.run import Plan, Run
from scanner.run.commits import READERS
from scanner.run.progress import Progress
from scanner.run.records import encode
from scanner.run.schema import CAPTIONS, column, samples_schema, write_part
from scanner.run.status import status
from scanner.scan.finishing import merge_and_check
from scanner.scan.plan.running import ONE_CORE
from scanner.scan.plan.sizes import PlanSizes
from scanner.storage import Store

# Assumed latency of S3's requests other than listings; they run in parallel.
REQUEST_SECONDS = 0.03
SCORES = pa.schema(
    [
        column("caption_id", pa.string(), "id"),
        column("noise_norm_first", pa.float32(), "norm").with_metadata({"memorized": "higher"}),
        column("entropy_e", pa.float32(), "entropy").with_metadata({"memorized": "higher"}),
    ]
)


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage: seconds without ``waited``, those that listings waited for their pages;
    requests by kind, and the peak memory of its process in bytes."""

    seconds: float
    requests: dict[str, int]
    peak: int
    note: str = ""
    waited: float = 0.0

    @property
    def estimate(self) -> float:
        """Seconds on S3 at the assumed latencies."""
        others = sum(self.requests.values()) - self.requests.get("LIST", 0)
        return self.seconds + self.waited + others * REQUEST_SECONDS / READERS


def simulate(captions: int, slice_captions: int) -> list[str]:
    """Return the lines of a Markdown table of the stages."""
    whole = Size(captions, slice_captions)
    half, merged = replace(whole, committed=0.5), replace(whole, is_merged=True)
    stages: dict[str, tuple[Callable[[Run, Size], str], Size]] = {
        "write the plan": (_plan, whole),
        "resume at half": (_resume, half),
        "`status` at half": (_status, half),
        "check and seal": (_seal, merged),
        "`status`, sealed": (_status, merged),
    }
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "bucket").mkdir()
        measured = {
            title: _alone(_measure, stage, Path(name), size)
            for title, (stage, size) in stages.items()
        }
        measured["merge one group"] = _alone(_measure_merge, Path(name), whole)
        local = _alone(_write_local, Path(name), merged)
        measured["`rank` of ten"] = _alone(_measure_rank, local)
    lines = [
        f"| {captions:,} captions, {slice_captions} per slice | seconds | with S3 | requests "
        "| peak memory | |",
        "|---|---|---|---|---|---|",
    ]
    return [*lines, *(_line(title, stage) for title, stage in measured.items())]


def _line(title: str, measured: StageCost) -> str:
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(measured.requests.items()))
    peak = f"{measured.peak / 1e9:.1f} GB"
    waits = f"{measured.estimate:,.0f}" if measured.requests else "–"
    cells = title, f"{measured.seconds:,.1f}", waits, kinds or "–", peak, measured.note
    return "| " + " | ".join(cells) + " |"


def _alone(stage: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a new process, whose peak memory is the stage's."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(stage, *arguments).result()


def _measure(step: Callable[[Run, Size], str], folder: Path, size: Size) -> StageCost:
    store = SimulatedStore(folder, size)
    began = time.perf_counter()
    note = step(Run(store), size)
    seconds = time.perf_counter() - began - store.waited
    return StageCost(seconds, dict(store.requests), _peak_bytes(), note, store.waited)


def _measure_merge(folder: Path, size: Size) -> StageCost:
    from jobs.studies.scale.merge import merge_group  # loads torch, which other stages do not need

    seconds, note = merge_group(folder, size.captions, size.slice_captions)
    return StageCost(seconds, {}, _peak_bytes(), note)


def _measure_rank(folder: Path) -> StageCost:
    began = time.perf_counter()
    tables = open_run(str(folder))
    tables.rank_by()
    rows = tables.query("SELECT * FROM ranking ORDER BY rank_score DESC LIMIT 10").num_rows
    parts = tables.query("SELECT count(*) AS n FROM scores")["n"][0].as_py()
    note = f"first {rows} of {parts:,} parts with one row each"
    return StageCost(time.perf_counter() - began, {}, _peak_bytes(), note)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _plan(run: Run, size: Size) -> str:
    run.begin({"inputs": {}, "fingerprint": {"id": "f"}})
    slices = tuple(size.slices())
    files = tuple(dict.fromkeys(item.file for item in slices))
    units = range(-(-size.captions // PlanSizes.range_rows))
    samples = tuple(f"samples/{number:06d}-0123456789ab-00.parquet" for number in units)
    counts = {"rows": size.captions, "samples": size.captions, "rejects": 0}
    counts |= {"rejected_files": 0, "captions": size.captions}
    plan = Plan((), samples, files, (), slices, counts, {})
    run.adopt(plan)
    run.summarize(plan, 0)
    written = run.store.files("")
    return (
        f"{len(slices):,} slices; plan.json {written['plan.json'].size / 1e6:,.1f} MB, "
        f"plan-summary.json {written['plan-summary.json'].size / 1e3:,.0f} kB"
    )


class _ScoringStarted(Exception):
    """Raised instead of scoring the first slice."""


class _NoWork:
    """Stand-in work that the driver never runs."""

    def prepare(self, item: Any) -> Any:
        return item

    def compute(self, prepared: Any) -> Any:
        return prepared

    def finish(self, computed: Any) -> Result:
        return Result([])


def _resume(run: Run, size: Size) -> str:
    """Do what a driver does until it hands the first slice to an actor."""
    plan = Plan.joined(run.plans())
    left: list[int] = []

    def begun(event: Event[Any]) -> None:
        if isinstance(event, Started):
            left.append(len(event.items))
            raise _ScoringStarted

    try:
        execute(run.commits, plan.slices, _NoWork, ONE_CORE, on_event=begun)
    except _ScoringStarted:
        state = Progress(len(plan.slices), size.captions, committed=len(plan.slices) - left[0])
        state.save(run)
    return f"{left[0]:,} slices left"


def _status(run: Run, size: Size) -> str:
    shown = status(run)
    return f"{shown['scored']:,} scored, sealed: {shown['sealed']}".lower()


def _seal(run: Run, size: Size) -> str:
    checked = merge_and_check(run, Plan.joined(run.plans()), None, lambda _: None)
    assert not checked.damaged, checked.damaged
    manifest = run.seal(checked.layout)
    written = run.store.files("")["manifest-0001.json"].size
    return f"{len(manifest['scores']):,} parts; manifest {written / 1e6:,.1f} MB"


def _write_local(folder: Path, size: Size) -> Path:
    """Write a real run with as many files as the simulated one, of one row each."""
    manifest = Run(SimulatedStore(folder, size)).manifest()
    assert manifest is not None
    store = Store(str(folder / "local"))
    ids = pa.array(["0" * 32])
    tables = {
        "samples": samples_schema([]).empty_table(),
        "captions": CAPTIONS.empty_table(),
        "scores": pa.table([ids, pa.array([1.0]), pa.array([1.0])], SCORES.names).cast(SCORES),
    }
    for kind, table in tables.items():
        for number in range(len(manifest[kind])):
            part = write_part(store, kind, f"{number:06d}", table)
            entry = {"path": part.path, "rows": part.rows, "sha256": part.sha256}
            manifest[kind][number] = entry if kind == "scores" else part.path
    store.write("run.json", encode({"inputs": {}, "fingerprint": {"id": "f"}}))
    store.write("manifest-0001.json", encode(manifest))
    return folder / "local"
