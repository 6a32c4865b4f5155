"""Measure the speed of each profile: captions per second, FLOPs, batch sizes, kernels."""

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch

from jobs.bench.acceptance.differences import differences
from jobs.bench.acceptance.part import NotMeasured, Options, scorer, seconds
from jobs.bench.acceptance.peaks import device_name, measured, published
from jobs.bench.captions import caption
from jobs.bench.device_memory import peak_memory, reset_peak_memory, synchronize
from jobs.bench.flops import TIMED
from scanner.models import DiffusionModel
from scanner.scoring import Scorer
from scanner.scoring.spec import ScoringSpec

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
TRIED_STEPS = 4


def throughput(options: Options) -> dict[str, Any]:
    """Time the profiles in each dtype: the work of the device, and separately tokenizing and
    building the table, which an actor overlaps with it."""
    ceiling = published(device_name(options.device))
    figures: dict[str, Any] = {"batch_size": options.batch, "profiles": {}, "schedule": {}}
    for dtype in options.dtypes:
        model, by_product = options.open(dtype), measured(dtype, options)
        for profile in TIMED:
            rate = _rate(model, profile, options)
            each: dict[str, float | None] = {**rate}
            each["percent_of_published"] = 100 * rate["tflops"] / ceiling if ceiling else None
            each["percent_of_measured_matmul"] = 100 * rate["tflops"] / by_product
            figures["profiles"].setdefault(profile, {})[dtype] = each
            plan = scorer(model, profile).schedule
            figures["schedule"][profile] = plan.lines(len(model.layers), ScoringSpec.steps)
    return figures


def _rate(model: DiffusionModel, profile: str, options: Options) -> dict[str, float]:
    """Time a profile. Of a trajectory, time a few steps and derive captions/s from TFLOP/s."""
    steps = TRIED_STEPS if profile == "trajectory" else ScoringSpec.steps
    ours = scorer(model, profile, steps=steps, batch_size=options.batch)
    read = ours.read(_captions(options.batch))
    reset_peak_memory(model.device)
    device = seconds(lambda: ours.compute(read), model.device, options)
    held = peak_memory(model.device)
    computed = ours.compute(read)
    reading = seconds(lambda: ours.read(read.captions), model.device, options)
    tabling = seconds(lambda: ours.table(read, computed), model.device, options)
    tried, full = _gflop(options, profile, steps), _gflop(options, profile)
    return {
        "captions_per_second": options.batch / device * tried / full,
        "microseconds_per_caption_reading": reading / options.batch * 1e6,
        "microseconds_per_caption_table": tabling / options.batch * 1e6,
        "gflop_per_caption": full,
        "tflops": options.batch / device * tried / 1e3,
        "peak_memory_bytes": held,
    }


def _gflop(options: Options, profile: str, steps: int = ScoringSpec.steps) -> float:
    """Return GFLOP per caption, over all seeds, including the text encoder."""
    counted = options.cost(profile, steps)
    return counted.per_caption + counted.text_encoder


def sizes(options: Options) -> dict[str, Any]:
    """Time batches of 1 to 128 captions until the deadline, at least the first.

    The rate is None for a size that does not fit.
    """
    dtype = options.dtypes[0]
    model = options.open(dtype)
    figures: dict[str, Any] = {"dtype": dtype}
    for profile, size in itertools.product(("triage", "standard"), SIZES):
        if "triage" in figures and time.monotonic() > options.deadline:
            figures["ended"] = f"out of time before batches of {size}, {profile}"
            break
        figures.setdefault(profile, {})[str(size)] = _size(model, profile, size, options)
    return figures


def _size(
    model: DiffusionModel, profile: str, size: int, options: Options
) -> dict[str, float | None]:
    ours = scorer(model, profile, batch_size=size)
    read = ours.read(_captions(size))
    ours.compute(ours.read(_captions(1)))  # what all captions share
    reset_peak_memory(model.device)
    try:
        duration = seconds(lambda: ours.compute(read), model.device, options)
    except torch.OutOfMemoryError:
        return {"captions_per_second": None, "peak_memory_bytes": None}
    if ours.batch_size < size:  # halved
        return {"captions_per_second": None, "peak_memory_bytes": None}
    return {"captions_per_second": size / duration, "peak_memory_bytes": peak_memory(model.device)}


def kernels(options: Options) -> dict[str, Any]:
    """Profile one batch of triage and of standard: busy device time, launches, copies, and the
    slowest kernels."""
    if not options.on_cuda:
        raise NotMeasured("a CPU has no kernels to profile")
    model = options.open(options.dtypes[0])
    return {
        profile: _profiled(scorer(model, profile, batch_size=options.batch), options.batch)
        for profile in ("triage", "standard")
    }


def _profiled(ours: Scorer, batch: int) -> dict[str, Any]:
    read, device = ours.read(_captions(batch)), ours.model.device
    for _ in range(2):
        ours.compute(read)
    synchronize(device)
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        began = time.perf_counter()
        ours.compute(read)
        synchronize(device)
        wall = time.perf_counter() - began
    events = profile.key_averages()
    ran = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    calls = {e.key: e.count for e in events if e.device_type == torch.autograd.DeviceType.CPU}
    busy = sum(event.self_device_time_total for event in ran) / 1e6
    longest = sorted(ran, key=lambda event: -event.self_device_time_total)[:12]
    return {
        "wall_seconds_profiled": wall,
        "busy_seconds": busy,
        "launches": sum(n for name, n in calls.items() if "LaunchKernel" in name),
        "synchronizations": sum(n for name, n in calls.items() if "Synchronize" in name),
        "copies_to_host": sum(e.count for e in ran if "DtoH" in e.key),
        "kernels": [
            {
                "name": event.key[:90],
                "calls": event.count,
                "milliseconds": event.self_device_time_total / 1e3,
                "percent": event.self_device_time_total / busy / 1e4,
            }
            for event in longest
        ],
    }


def compiled(profile: str) -> Callable[[Options], dict[str, Any]]:
    """Return a part that times a profile compiled against eager, and compares their scores."""
    return functools.partial(_compiled, profile)


def _compiled(profile: str, options: Options) -> dict[str, Any]:
    if not options.on_cuda:
        raise NotMeasured("compiled forwards are for CUDA devices")
    dtype = options.dtypes[0]
    model, tables, durations, first = options.open(dtype), {}, {}, {}
    for on in (False, True):
        ours = scorer(model, profile, compiles=on, batch_size=options.batch)
        read = ours.read(_captions(options.batch))
        began = time.perf_counter()
        tables[on], _ = ours.table(read, ours.compute(read))
        first[on] = time.perf_counter() - began
        durations[on] = seconds(functools.partial(ours.compute, read), model.device, options)
    counted = _gflop(options, profile) * options.batch / 1e3
    names = [signal.name for signal in ours.signals]
    return {
        "dtype": dtype,
        "batch_size": options.batch,
        "captions_per_second_eager": options.batch / durations[False],
        "captions_per_second_compiled": options.batch / durations[True],
        "tflops_eager": counted / durations[False],
        "tflops_compiled": counted / durations[True],
        "speedup": durations[False] / durations[True],
        "seconds_first_batch_eager": first[False],
        "seconds_first_batch_compiled": first[True],
        "signals": {
            name: {"compiled": each}
            for name, each in differences(tables[False], tables[True], names).items()
        },
    }


def _captions(count: int) -> list[str]:
    return [caption(number) for number in range(count)]
