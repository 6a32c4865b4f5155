"""Time a scan without its forwards: planning, dispatch, tokenizing, writing, committing.

Each figure is a whole scan on a local Ray, two actors with a core each, into a temporary directory.
Scanning is timed from the start of the first slice, to exclude loading the model.
"""

import logging
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from jobs.bench.captions import caption, write_captions
from jobs.bench.stubs import STUB_SLICE, StubScan, resident_bytes
from scanner.cluster import start_ray
from scanner.models import load_model
from scanner.run import Commit, Run
from scanner.run.progress import PlanningProgress, Progress
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.opening import inputs_record, options_record, run_record
from scanner.scan.preparation import prepare
from scanner.scan.scan import plan_scan
from scanner.scan.score_plan import score_plan
from scanner.scan.stages import planning_executor
from scanner.scoring import Scorer
from scanner.storage import Store

log = logging.getLogger("memscan")

ACTORS = 2
FILES = 8
BATCH = 64
TESTBED_SLICE = 64
TESTBED_CAPTIONS = 2048
ROUNDS = 3


@dataclass(frozen=True)
class Timed:
    """One scan: seconds of planning and of scanning, its commits, and the driver's memory."""

    captions: int
    planning: float
    scanning: float
    commits: list[Commit]
    driver_bytes: list[int]

    @property
    def captions_per_second(self) -> float:
        return self.captions / (self.planning + self.scanning)


def measure(captions: int) -> dict[str, Any]:
    """Return all figures; see ``bench --json``. ``captions``: number in a scan with a stub."""
    start_ray(None)
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, Any] = {"captions": captions, "actors": ACTORS}
        files = write_captions(Path(folder, "many"), captions, FILES)
        for stub in ("ready_table", "stub_unet"):
            timed = scan_with(files, Path(folder, stub), STUB_SLICE, stub)
            figures[f"captions_per_second_{stub}"] = timed.captions_per_second
            figures[f"seconds_{stub}"] = {"planning": timed.planning, "scanning": timed.scanning}
            figures[f"memory_{stub}"] = memory_of(timed)
            log.info(
                f"{stub}: {timed.captions_per_second:,.0f} captions/s, planning "
                f"{timed.planning:.1f} s, scanning {timed.scanning:.1f} s"
            )
        files = write_captions(Path(folder, "few"), TESTBED_CAPTIONS, 1)
        figures |= _against_bare(files, Path(folder))
    return figures


def scan_with(files: str, out: Path, slice_captions: int, stub: str | None = None) -> Timed:
    """Plan, score, check and seal, as ``memscan scan`` does."""
    config = ScanConfig(
        captions=(files,),
        out=str(out),
        model="testbed",
        device="cpu",
        actors=ACTORS,
        cpus_per_actor=1.0,
        batch_size=BATCH,
        slice_captions=slice_captions,
    )
    prepared = prepare(config)
    if stub:
        prepared = StubScan(**vars(prepared), stub=stub)
    run = Run(Store(config.out))
    options = options_record(config, config.model_spec)
    run.begin(run_record(prepared, options, inputs_record(config)))
    driver_bytes: list[int] = []

    def progress(state: Progress | PlanningProgress) -> None:
        driver_bytes.append(resident_bytes())

    began = time.perf_counter()
    planner = planning_executor(config.address, progress)
    plan = run.adopt(plan_scan(prepared, choose_inputs(config), run.store, run_items=planner))
    planning = time.perf_counter() - began
    score_plan(prepared, run, plan, progress)
    run.seal()
    ended, commits = time.time(), run.commits.all()
    scanning = ended - min(commit.notes["began"] for commit in commits)
    return Timed(plan.counts["captions"], planning, scanning, commits, driver_bytes)


def memory_of(timed: Timed) -> dict[str, dict[str, int]]:
    """Return resident bytes of the driver and each actor after a tenth, half and all, and the peak.

    Sampled at every commit of an actor, and at every event of the driver's loop.
    """
    held = {"driver": timed.driver_bytes}
    for commit in sorted(timed.commits, key=lambda commit: commit.notes["began"]):
        held.setdefault(commit.notes["worker"], []).append(commit.notes["resident_bytes"])
    return {
        who: {
            "tenth": series[len(series) // 10],
            "half": series[len(series) // 2],
            "final": series[-1],
            "peak": max(series),
        }
        for who, series in held.items()
    }


def _against_bare(files: str, folder: Path) -> dict[str, float]:
    """Compare two actors of a scan with two processes that only run the same forwards."""
    bare, actors, busy = [], [], []
    for number in range(ROUNDS):
        bare.append(_two_bare())
        timed = scan_with(files, folder / f"testbed-{number}", TESTBED_SLICE)
        ends = [commit.notes["began"] + commit.seconds for commit in timed.commits]
        first = min(commit.notes["began"] for commit in timed.commits)
        actors.append(timed.captions / (max(ends) - first))
        busy.append(_busy_fraction(timed.commits))
        log.info(
            f"round {number + 1} of {ROUNDS}: two actors {actors[-1]:,.0f} captions/s, "
            f"two plain processes {bare[-1]:,.0f}, busy {busy[-1]:.3f}"
        )
    ratios = [a / b for a, b in zip(actors, bare, strict=True)]
    return {
        "actor_busy_fraction": statistics.median(busy),
        "two_actors_over_two_bare": statistics.median(ratios),
        "captions_per_second_two_actors": statistics.median(actors),
        "captions_per_second_two_bare": statistics.median(bare),
    }


def _busy_fraction(commits: list[Commit]) -> float:
    """Return the fraction of time that actors compute, from their first forward to their last."""
    by_actor: dict[str, list[Commit]] = {}
    for commit in commits:
        by_actor.setdefault(commit.notes["worker"], []).append(commit)
    busy = total = 0.0
    for mine in by_actor.values():
        busy += sum(commit.seconds for commit in mine)
        ends = [commit.notes["began"] + commit.seconds for commit in mine]
        total += max(ends) - min(commit.notes["began"] for commit in mine)
    return busy / total


def _two_bare() -> float:
    """Return captions per second of two processes together, each with one thread."""
    context = get_context("spawn")
    start, results = context.Barrier(ACTORS), context.Queue()
    share = TESTBED_CAPTIONS // ACTORS
    processes = [
        context.Process(target=_bare, args=(number * share, share, start, results))
        for number in range(ACTORS)
    ]
    for process in processes:
        process.start()
    spans = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return TESTBED_CAPTIONS / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def _bare(first: int, share: int, start: Any, results: Any) -> None:
    torch.set_num_threads(1)
    scorer = Scorer(load_model("testbed"), batch_size=BATCH)
    slices = [
        scorer.read([caption(number) for number in range(at, at + TESTBED_SLICE)])
        for at in range(first, first + share, TESTBED_SLICE)
    ]
    scorer.compute(scorer.read([caption(0)]))  # what all captions share
    start.wait()
    began = time.time()
    for read in slices:
        scorer.compute(read)
    results.put((began, time.time()))
