"""Run the chosen parts one after another, each within its time, and keep how each ended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from jobs.bench.acceptance.part import RANDOM, Options
from jobs.bench.acceptance.parts import PARTS
from jobs.bench.acceptance.worker import Outcome, Worker
from scanner.errors import UsageError
from scanner.models.loading import DTYPES, choose_device

LEAST = 5.0
"""Seconds with which a part is begun at all."""


def accept(
    only: Sequence[str],
    options: Options,
    limit: float,
    ended: Callable[[str, Outcome], None] = lambda name, outcome: None,
) -> dict[str, Any]:
    """Return how every part ended and what it measured; see ``bench --acceptance --json``.

    ``only``: names of PARTS, all by default. ``limit``: seconds for all of them. ``ended`` is
    called after each part.
    """
    began, worker, found = time.monotonic(), Worker(), {}
    try:
        for name in chosen(only):
            left = began + limit - time.monotonic()
            if left < LEAST:
                outcome = Outcome("skipped", 0.0, {}, f"the {limit:.0f} s of the whole run are up")
            else:
                outcome = worker.run(name, options, min(PARTS[name].budget, left))
            found[name] = asdict(outcome)
            ended(name, outcome)
    finally:
        worker.stop()
    return {
        "model": options.model,
        "device": options.device,
        "seconds": time.monotonic() - began,
        "parts": found,
    }


def chosen(only: Sequence[str]) -> list[str]:
    """Return the parts to run, in their order. Raises UsageError for a name that is none."""
    names = [name for words in only for name in words.split(",") if name]
    for name in names:
        if name not in PARTS:
            raise UsageError(f"--only {name}: one of {', '.join(PARTS)}")
    return [name for name in PARTS if not names or name in names]


def options_of(
    model: str | None, device: str, dtypes: Sequence[str], captions: int, batch: int | None
) -> Options:
    """Return the parts' options; what is not given follows the device: on CUDA, Stable Diffusion
    1.4's architecture in float16 and bfloat16, batches of 32; on a CPU the testbed in float32."""
    device = choose_device(device)
    on_cuda = device != "cpu"
    names = [name for words in dtypes for name in words.split(",") if name]
    for name in names:
        if name not in DTYPES:
            raise UsageError(f"--dtype {name}: one of {', '.join(DTYPES)}")
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
