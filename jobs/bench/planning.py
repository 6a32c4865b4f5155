"""Measure the time and memory of reading a scan's input and grouping its captions."""

import logging
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from jobs.bench.captions import write_captions
from jobs.bench.planning_growth import calculate_growth, measure_growth
from jobs.logs import logging_to_stderr
from scanner.cluster import Item, Outcome, Work
from scanner.run import Commits
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.running import execute_here
from scanner.scan.preparation import prepare
from scanner.scan.scan import plan_scan
from scanner.storage import Store

log = logging.getLogger("memscan")

Returned = TypeVar("Returned")

FILES = 20
STAGES = ("read", "merge", "group")


def measure(rows: int) -> dict[str, Any]:
    """Return all figures, measured in new processes; see ``bench --json`` for their names."""
    with tempfile.TemporaryDirectory() as folder:
        log.info(f"planning: writing {rows:,} rows")
        files = write_captions(Path(folder, "rows"), rows, FILES, distinct=rows // 2)
        figures = in_new_process(_plan, files, str(Path(folder, "run")))
    with tempfile.TemporaryDirectory() as folder:
        growth = in_new_process(measure_growth, Path(folder), rows)
    return {**figures, "growth": growth, "calculated": calculate_growth()}


def in_new_process(function: Callable[..., Returned], *arguments: Any) -> Returned:
    """Return what a function returns in a process that has imported and allocated nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _plan(files: str, out: str) -> dict[str, Any]:
    config = ScanConfig(
        captions=(files,), out=out, model="testbed", device="cpu", actors=1, cpus_per_actor=1.0
    )
    with logging_to_stderr():
        return _plan_and_time(config)


def _plan_and_time(config: ScanConfig) -> dict[str, Any]:
    prepared = prepare(config)
    before, seconds = _peak_bytes(), dict.fromkeys(STAGES, 0.0)

    def timed(commits: Commits, items: Sequence[Item], make_work: Callable[[], Work]) -> Outcome:
        began = time.perf_counter()
        outcome = execute_here(commits, items, make_work)
        stage = commits.folder.rpartition("/")[2]
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - began
        log.info(f"planning: {stage} in {seconds[stage]:.1f} s")
        return outcome

    plan = plan_scan(prepared, choose_inputs(config), Store(config.out), run_items=timed)
    durations = {f"seconds_{stage}": each for stage, each in seconds.items()}
    rows = plan.counts["rows"]
    return {
        "rows": rows,
        "captions": plan.counts["captions"],
        **durations,
        "rows_per_second_read": rows / durations["seconds_read"],
        "memory_before_bytes": before,
        "peak_memory_bytes": _peak_bytes(),
    }


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
