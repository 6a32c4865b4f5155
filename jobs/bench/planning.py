"""Measure the time and memory of reading a scan's input and grouping its captions."""

import logging
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from jobs.bench.captions import write_captions
from jobs.bench.planning_growth import IMAGE_KEYS, SCALE, calculate_growth, measure_growth
from jobs.console.logs import logging_to_stderr
from jobs.console.tables import print_table
from jobs.console.terminal import show
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

FILES, ROUNDS = 20, 3
STAGES = ("read", "merge", "group")


def measure(rows: int) -> dict[str, Any]:
    """Return all figures, measured in new processes; see ``bench --json`` for their names."""
    with tempfile.TemporaryDirectory() as folder:
        log.info(f"planning: writing {rows:,} rows")
        files = write_captions(
            Path(folder, "rows"), rows, FILES, distinct=rows // 2, images=rows * 3 // 4
        )
        rounds = [_round(files, Path(folder, str(number))) for number in range(ROUNDS)]
    ratio = median(one["images_over_plain"] for one in rounds)
    figures = {**rounds[0], "images_over_plain": ratio}
    with tempfile.TemporaryDirectory() as folder:
        growth = in_new_process(measure_growth, Path(folder), rows)
    return {**figures, "growth": growth, "calculated": calculate_growth()}


def _round(files: str, folder: Path) -> dict[str, Any]:
    """Plan without and with image keys, and compare."""
    plain, with_images = (
        in_new_process(_plan, files, str(folder / key), key) for key in IMAGE_KEYS
    )
    ratio = with_images["seconds_cpu"] / plain["seconds_cpu"]
    log.info(f"planning: {ratio:.2f} times the CPU time with image keys")
    return {**plain, "with_images": with_images, "images_over_plain": ratio}


def show_figures(figures: dict[str, Any]) -> None:
    """Print what :func:`measure` returns."""
    peak, before = (figures[f"{name}_bytes"] / 2**20 for name in ("peak_memory", "memory_before"))
    show(
        f"\nplanning of {figures['rows']:,} rows, half of them duplicates, in one process: read in "
        f"{figures['seconds_read']:.0f} s ({figures['rows_per_second_read']:,.0f} rows/s), merged "
        f"in {figures['seconds_merge']:.0f} s, grouped in {figures['seconds_group']:.0f} s; peak "
        f"resident memory {peak:,.0f} MiB, of which {before:,.0f} MiB before reading, with the "
        "model loaded"
    )
    images = figures["with_images"]
    show(
        "with image keys, half of the samples sharing their image with another: "
        f"{figures['images_over_plain']:.2f} times the CPU time (median of {ROUNDS} rounds); "
        f"images of samples read in {images['seconds_image_read']:.0f} s, grouped in "
        f"{images['seconds_image_group']:.0f} s; peak resident memory "
        f"{images['peak_memory_bytes'] / 2**20:,.0f} MiB"
    )
    show(
        f"\nrequests with parts and ranges of 1/{SCALE} of the default size, and Ray Data's hash "
        "aggregation of the same files\n"
    )
    rows = [
        {
            "rows": one["rows"],
            "requests": one["requests"],
            "per 1,000 rows": one["requests_per_thousand_rows"],
            "bytes read per row": one["bytes_read_per_row"],
            "written": one["bytes_written_per_row"],
            "seconds": one["seconds"],
            "with images: requests": one["with_images"]["requests"],
            "Ray Data: seconds": one["ray_data"].get("seconds"),
            "bytes shuffled per row": one["ray_data"].get("bytes_shuffled_per_row"),
        }
        for one in figures["growth"]
    ]
    print_table(rows, list(rows[0]))
    for problem in {one["ray_data"].get("problem") for one in figures["growth"]} - {None}:
        show(problem)
    show("\nrequests at the default sizes, calculated from the merges that planning would run\n")
    rows = [
        {
            "rows": one["rows"],
            "parts": one["parts"],
            "ranges": one["ranges"],
            "levels of merging": one["levels_of_merging"],
            "requests": one["requests"],
            "with images": one["requests_with_images"],
            "per 1,000 rows": one["requests_per_thousand_rows"],
            "bytes read per row": one["bytes_read_per_row"],
        }
        for one in figures["calculated"]
    ]
    print_table(rows, list(rows[0]))


def in_new_process(function: Callable[..., Returned], *arguments: Any) -> Returned:
    """Return what a function returns in a process that has imported and allocated nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _plan(files: str, out: str, image_key: str) -> dict[str, Any]:
    config = ScanConfig(
        captions=(files,),
        out=out,
        image_key=image_key,
        model="testbed",
        device="cpu",
        actors=1,
        cpus_per_actor=1.0,
    )
    with logging_to_stderr():
        return _plan_and_time(config)


def _plan_and_time(config: ScanConfig) -> dict[str, Any]:
    prepared = prepare(config)
    before, began, seconds = _peak_bytes(), time.process_time(), dict.fromkeys(STAGES, 0.0)

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
        "seconds_cpu": time.process_time() - began,
        "rows_per_second_read": rows / durations["seconds_read"],
        "memory_before_bytes": before,
        "peak_memory_bytes": _peak_bytes(),
    }


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
