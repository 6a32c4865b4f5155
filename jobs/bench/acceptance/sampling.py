"""Measure the cost of mitigation while a pipeline samples."""

import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from jobs.bench.acceptance.part import Options
from jobs.bench.captions import caption
from jobs.bench.device_memory import synchronize
from scanner.mitigation.inference import REN, mitigate
from scanner.models.loading import build_pipeline

STEPS, IMAGES, ROUNDS = 10, 4, 5


def mitigation(options: Options) -> dict[str, Any]:
    """Time guided sampling with and without mitigation, alternating; decode no image."""
    dtype = options.dtypes[0]
    pipe = _pipeline(options, dtype)
    device = torch.device(options.device)
    durations: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS + 1):
        if len(durations[True]) and time.monotonic() > options.deadline:
            break
        for on in (False, True):
            context: AbstractContextManager[Any] = mitigate(pipe, REN) if on else nullcontext()
            with context:
                began = time.perf_counter()
                latents = _sample(pipe)
                synchronize(device)
                if number:  # the first is a warm-up
                    durations[on].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(durations[True], durations[False], strict=True)]
    return {
        "dtype": dtype,
        "images": IMAGES,
        "steps": STEPS,
        "rounds": len(ratios),
        "seconds_plain": statistics.median(durations[False]),
        "seconds_mitigated": statistics.median(durations[True]),
        "time_ratio": statistics.median(ratios),
        "finite": bool(latents.isfinite().all()),
    }


def _sample(pipe: StableDiffusionPipeline) -> torch.Tensor:
    texts = [caption(number) for number in range(IMAGES)]
    generator = torch.Generator("cpu").manual_seed(0)
    options = {"num_inference_steps": STEPS, "output_type": "latent", "generator": generator}
    return pipe(texts, **options).images


def _pipeline(options: Options, dtype: str) -> StableDiffusionPipeline:
    model = options.open(dtype)
    parts = {name: getattr(model, name) for name in (*model.parts, *model.tokenizers)}
    pipe = build_pipeline(
        "StableDiffusionPipeline", {**parts, "scheduler": model.scheduler, "vae": None}
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
