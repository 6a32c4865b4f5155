"""Run the chosen parts in order, each within its time limit, and record the outcomes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from jobs.bench.acceptance.part import RANDOM, Options
from jobs.bench.acceptance.parts import PARTS
from jobs.bench.acceptance.worker import PartOutcome, Worker
from scanner.errors import UsageError
from scanner.models.loading import DTYPES, choose_device

MIN_SECONDS = 5.0
"""Smallest remaining time in seconds with which to start a part."""


def accept(
    only: Sequence[str],
    options: Options,
    limit: float,
    report: Callable[[str, PartOutcome], None] = lambda name, outcome: None,
) -> dict[str, Any]:
    """Return the outcome and figures of every part; see ``bench --acceptance --json``.

    ``only``: names of PARTS, all by default. ``limit``: seconds for all of them. ``report`` is
    called after each part.
    """
    began, worker, outcomes = time.monotonic(), Worker(), {}
    try:
        for name in chosen(only):
            left = began + limit - time.monotonic()
            if left < MIN_SECONDS:
                outcome = PartOutcome(
                    "skipped", 0.0, {}, f"the time limit of {limit:.0f} s is reached"
                )
            else:
                outcome = worker.run(name, options, min(PARTS[name].budget, left))
            outcomes[name] = asdict(outcome)
            report(name, outcome)
    finally:
        worker.stop()
    return {
        "model": options.model,
        "device": options.device,
        "seconds": time.monotonic() - began,
        "parts": outcomes,
    }


def chosen(only: Sequence[str]) -> list[str]:
    """Return the parts to run, in order. Raises UsageError for an unknown name."""
    names = [name for words in only for name in words.split(",") if name]
    for name in names:
        if name not in PARTS:
            raise UsageError(f"--only {name}: choose from {', '.join(PARTS)}")
    return [name for name in PARTS if not names or name in names]


def options_of(
    model: str | None, device: str, dtypes: Sequence[str], captions: int, batch: int | None
) -> Options:
    """Return the options of the parts. Defaults on CUDA: Stable Diffusion 1.4's architecture in
    float16 and bfloat16; on a CPU: the testbed in float32; batches of 32 on both."""
    device = choose_device(device)
    on_cuda = device != "cpu"
    names = [name for words in dtypes for name in words.split(",") if name]
    for name in names:
        if name not in DTYPES:
            raise UsageError(f"--dtype {name}: choose from {', '.join(DTYPES)}")
    return Options(
        model=model or (RANDOM if on_cuda else "testbed"),
        device=device,
        dtypes=tuple(names) or (("float16", "bfloat16") if on_cuda else ("float32",)),
        captions=captions,
        batch=batch or 32,
    )


def failures(record: dict[str, Any]) -> list[str]:
    """Return the names of the parts that failed."""
    return [name for name, part in record["parts"].items() if part["status"] == "failed"]
