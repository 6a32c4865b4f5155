"""Operations, memory and time of each method on Stable Diffusion 1.4's full-size U-Net."""

import logging
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scanner.mitigation import mitigate
from scanner.models.loading import build_pipeline
from scanner.models.random.random_weights import stable_diffusion_14
from scanner.scoring.peak_memory import peak_bytes

log = logging.getLogger("memscan")

CAPTION = "a red fox on a hill"
SIDE = 256
STEPS = 3


def measure_cost(methods: tuple[str, ...], pairs: int) -> list[dict[str, Any]]:
    """Return one row per method: its operations, memory and time against plain sampling.

    One image at 256 px in three steps. ``flop_ratio``: of products, counted with unfused attention,
    since the fused kernel counts as zero on the CPU. ``peak_mib``: most memory of tensors beyond
    the weights, and ``plain_peak_mib`` without the method. ``time_ratio``: median over ``pairs`` of
    generations without and with the method, one after the other; None if 0. Weights are random.
    """
    pipe = _pipeline()
    plain, plain_mib = _count(pipe, nullcontext()), _peak_mib(pipe, nullcontext())
    rows = []
    for method in methods:
        total = _count(pipe, mitigate(pipe, method=method))
        start = partial(mitigate, pipe, method=method)
        ratios = [_ratio(pipe, start) for _ in range(pairs)]
        row = {"method": method, "tflop": total / 1e12, "flop_ratio": total / plain}
        row |= {"peak_mib": _peak_mib(pipe, start()), "plain_peak_mib": plain_mib}
        row["time_ratio"] = statistics.median(ratios) if ratios else None
        log.info(f"cost: {row}")
        rows.append(row)
    return rows


def _pipeline() -> Any:
    model = stable_diffusion_14(device="cpu")
    parts = {name: getattr(model, name) for name in (*model.parts, *model.tokenizers)}
    pipe = build_pipeline(
        StableDiffusionPipeline.__name__, {**parts, "scheduler": model.scheduler, "vae": None}
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.requires_grad_(False)
    return pipe


def _sample(pipe: Any) -> None:
    pipe(
        CAPTION,
        num_inference_steps=STEPS,
        height=SIDE,
        width=SIDE,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    )


def _count(pipe: Any, context: AbstractContextManager[object]) -> int:
    with context, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _sample(pipe)
    return int(counter.get_total_flops())


def _peak_mib(pipe: Any, context: AbstractContextManager[object]) -> float:
    with context:
        return peak_bytes(lambda: _sample(pipe), "cpu") / 2**20


def _ratio(pipe: Any, context: Callable[[], AbstractContextManager[object]]) -> float:
    """Return the time of a generation within the context over that of one without."""
    seconds = []
    for entered in (nullcontext(), context()):
        with entered:
            began = time.perf_counter()
            _sample(pipe)
            seconds.append(time.perf_counter() - began)
    return seconds[1] / seconds[0]
