"""Compare scores with those of the CPU, of float32, and after running out of memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import torch

from jobs.bench.acceptance.differences import differences
from jobs.bench.acceptance.part import NotMeasured, Options, opened, scorer
from scanner.models import DiffusionModel
from scanner.models.traits import UNET, Trait
from scanner.scoring.catalog import SIGNALS
from scanner.scoring.profiles import PROFILES
from scanner.scoring.spec import ScoringSpec
from scanner.testbed.files import labels

TESTBED = "testbed"
STEPS_CPU = 5
"""Steps of a trajectory on the CPU, where float16 and bfloat16 are slow."""
OFFERED: frozenset[Trait] = UNET | {"two_steps"}
"""What the comparison's model and options offer to signals: one seed, small latents."""
PROFILED = PROFILES["trajectory"].signals_of(OFFERED)
OTHERS = [
    name for name, one in SIGNALS.items() if one.needs.traits <= OFFERED and name not in PROFILED
]
"""Signals outside the profile: one scorer each, so a failure affects only one of them."""


def parity(options: Options) -> dict[str, Any]:
    """Compare the testbed's float32 scores with the CPU's, with TF32 convolutions and without."""
    if not options.on_cuda:
        raise NotMeasured("the reference is the CPU, which is the device")
    cpu, model = (opened(TESTBED, "float32", device) for device in ("cpu", options.device))
    figures: dict[str, Any] = {"captions": options.captions, "signals": {}, "not_finite": {}}
    for names in groups():
        reference, _ = _scores(cpu, names, options)
        for kind, tf32 in (("float32", False), ("tf32", True)):
            with tf32_convolutions(tf32):
                table, figures["not_finite"][f"{names[0]} … {kind}"] = _scores(
                    model, names, options
                )
            for name, each in differences(reference, table, names).items():
                figures["signals"].setdefault(name, {})[kind] = each
    figures["tf32_by_default"] = torch.backends.cudnn.allow_tf32
    return figures


def precision(options: Options) -> dict[str, Any]:
    """Compare the testbed's scores in each of the dtypes with those in float32, same device."""
    figures: dict[str, Any] = {"captions": options.captions, "signals": {}, "errors": {}}
    for names in groups():
        reference, _ = _scores(opened(TESTBED, "float32", options.device), names, options)
        for dtype in ("float16", "bfloat16"):
            try:
                table, bad = _scores(opened(TESTBED, dtype, options.device), names, options)
            except RuntimeError as error:  # an operator that a dtype lacks
                figures["errors"][f"{names[0]} {dtype}"] = str(error).splitlines()[0]
                continue
            if bad:
                figures["errors"][f"{names[0]} {dtype}"] = f"{bad} captions have no finite score"
            for name, each in differences(reference, table, names).items():
                figures["signals"].setdefault(name, {})[dtype] = each
    return figures


def out_of_memory(options: Options) -> dict[str, Any]:
    """Score a batch that fits, then the same captions with memory for only part of it."""
    if not options.on_cuda:
        raise NotMeasured("only a CUDA device's memory can be limited")
    model, texts = opened(TESTBED, "float32", options.device), captions(512)
    free = scorer(model, "thorough", seeds=1, batch_size=len(texts))
    free.score(texts[:8])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    base = torch.cuda.memory_reserved()
    reference = free.score(texts)
    needed = torch.cuda.max_memory_reserved() - base
    total = torch.cuda.get_device_properties(options.device).total_memory
    limited = scorer(model, "thorough", seeds=1, batch_size=len(texts))
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + needed / 3
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    try:
        table = limited.score(texts)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    names = [signal.name for signal in free.signals]
    if limited.batch_size == len(texts):
        raise RuntimeError(f"a third of the {needed:,} bytes needed was enough: nothing was tested")
    return {
        "captions": len(texts),
        "needed_bytes": needed,
        "allowed_bytes": int(allowed),
        "batch_before": len(texts),
        "batch_after": limited.batch_size,
        "signals": {
            name: {"limited": each} for name, each in differences(reference, table, names).items()
        },
    }


def groups() -> list[list[str]]:
    """Return the signals that one scorer computes together."""
    return [list(PROFILED), *([name] for name in OTHERS)]


def captions(count: int) -> list[str]:
    """Return captions of the testbed, spread evenly over its groups."""
    every = labels()["caption"].to_pylist()
    return [every[number * len(every) // count] for number in range(count)]


@contextmanager
def tf32_convolutions(allowed: bool) -> Iterator[None]:
    """Allow or forbid cuDNN to round float32 convolutions to TF32 within this context."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _scores(model: DiffusionModel, names: list[str], options: Options) -> tuple[pa.Table, int]:
    """Return the scores, and the number of captions without a finite score."""
    steps = ScoringSpec.steps if options.on_cuda else STEPS_CPU
    ours = scorer(model, signals=names, seeds=1, steps=steps, batch_size=options.batch)
    table, bad = ours.score_finite(captions(options.captions))
    return table, len(bad)
