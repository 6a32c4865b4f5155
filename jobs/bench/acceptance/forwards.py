"""Time the denoiser: stock, instrumented, channels-last, compiled."""

import time
from collections.abc import Callable
from typing import Any

import torch

from jobs.bench.acceptance.part import NotMeasured, Options, seconds
from jobs.bench.captions import caption
from scanner.models import DiffusionModel
from scanner.probe import watch_attention
from scanner.scoring.spec import ScoringSpec


def overhead(options: Options) -> dict[str, Any]:
    """Time instrumented and stock forwards (fused attention) in both memory formats, without
    sharing the prefix."""
    figures: dict[str, Any] = {"batch_size": options.batch}
    for dtype in options.dtypes:
        model = options.open(dtype)
        gflop = options.cost("triage").forward * options.batch
        stock = bare(model, options.batch)

        def recording(model: DiffusionModel = model, stock: Callable[[], Any] = stock) -> None:
            with watch_attention(model.denoiser, model.layers):
                stock()

        timed = {
            "stock": seconds(stock, model.device, options),
            "watched": seconds(recording, model.device, options),
        }
        model.denoiser.to(memory_format=torch.channels_last)
        timed["stock_channels_last"] = seconds(stock, model.device, options)
        timed["watched_channels_last"] = seconds(recording, model.device, options)
        model.denoiser.to(memory_format=torch.contiguous_format)
        figures[dtype] = {
            name: {"captions_per_second": options.batch / each, "tflops": gflop / each / 1e3}
            for name, each in timed.items()
        }
        figures[dtype]["probe_overhead"] = timed["watched"] / timed["stock"] - 1
    return figures


def compiled(options: Options) -> dict[str, Any]:
    """Time a stock forward compiled by torch.compile against eager, both channels-last on CUDA."""
    if not options.on_cuda:
        raise NotMeasured("compiled forwards are for CUDA devices")
    dtype = options.dtypes[0]
    model = options.open(dtype)
    model.denoiser.to(memory_format=torch.channels_last)
    eager = seconds(bare(model, options.batch), model.device, options)
    forward, began = model.denoiser.forward, time.perf_counter()
    try:
        model.denoiser.forward = torch.compile(forward)
        run = bare(model, options.batch)
        run()
        compiling = time.perf_counter() - began
        fast = seconds(run, model.device, options)
    finally:
        model.denoiser.forward = forward
        model.denoiser.to(memory_format=torch.contiguous_format)
    gflop = options.cost("triage").forward * options.batch
    return {
        "dtype": dtype,
        "batch_size": options.batch,
        "seconds_compiling": compiling,
        "eager_captions_per_second": options.batch / eager,
        "compiled_captions_per_second": options.batch / fast,
        "eager_tflops": gflop / eager / 1e3,
        "compiled_tflops": gflop / fast / 1e3,
        "speedup": eager / fast,
    }


def bare(model: DiffusionModel, batch: int) -> Callable[[], Any]:
    """Return a forward of the denoiser from random latents with captions."""
    time_ = model.noise_process.timesteps(ScoringSpec.steps)[0]
    with torch.inference_mode():
        text = model.encode(model.tokenize([caption(number) for number in range(batch)]))
    x_BCHW = torch.randn(batch, *model.latent_shape(), device=model.device)
    return torch.inference_mode()(lambda: model.predict(x_BCHW, time_, text))
