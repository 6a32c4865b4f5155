"""Compare two processes that share a device with one process."""

import time
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

from jobs.bench.acceptance.part import Options, scorer
from jobs.bench.captions import caption
from jobs.bench.device_memory import synchronize

SECONDS = 6.0
START_WITHIN = 90.0


def sharing(options: Options) -> dict[str, Any]:
    """Measure captions per second of one process and of two together, profile standard."""
    figures: dict[str, Any] = {"dtype": options.dtypes[0], "batch_size": options.batch}
    rates = {count: _together(count, options) for count in (1, 2)}
    for count, rate in rates.items():
        figures[f"captions_per_second_{count}"] = rate
    return figures | {"two_over_one": rates[2] / rates[1]}


def _together(count: int, options: Options) -> float:
    """Return the total captions per second of processes that start together."""
    context = get_context("spawn")
    start, results = context.Barrier(count), context.Queue()
    unlimited = replace(options, deadline=float("inf"))
    processes = [
        context.Process(target=_score, args=(unlimited, start, results), daemon=True)
        for _ in range(count)
    ]
    for process in processes:
        process.start()
    try:
        counted = [results.get(timeout=START_WITHIN + 3 * SECONDS) for _ in processes]
    finally:
        for process in processes:
            process.join(5)
            process.kill()
    for each in counted:
        if isinstance(each, str):
            raise RuntimeError(each)
    return sum(counted)


def _score(options: Options, start: Any, results: Any) -> None:
    try:
        results.put(_rate(options, start))
    except Exception as error:
        start.abort()
        results.put(f"{type(error).__name__}: {error}")


def _rate(options: Options, start: Any) -> float:
    model = options.open(options.dtypes[0])
    ours = scorer(model, "standard", batch_size=options.batch)
    read = ours.read([caption(number) for number in range(options.batch)])
    ours.compute(read)
    synchronize(model.device)
    start.wait(START_WITHIN)
    began, batches = time.perf_counter(), 0
    while time.perf_counter() < began + SECONDS:
        ours.compute(read)
        batches += 1
    synchronize(model.device)
    return batches * options.batch / (time.perf_counter() - began)
