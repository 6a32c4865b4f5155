"""Time the fused attention kernel against the plain computation, alone and in a whole forward."""

import functools
import importlib
import inspect
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from jobs.bench.acceptance.forwards import bare
from jobs.bench.acceptance.part import NotMeasured, Options, seconds
from scanner import probe
from scanner.models import DiffusionModel
from scanner.models.loading import DTYPES

TEXT = 77
REPEATS = 10
"""Runs between two synchronizations, to amortize the wait."""
Attend = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def fused(options: Options) -> dict[str, Any]:
    """Time stock and instrumented forwards, plain and fused, and each shape of attention."""
    if not options.on_cuda:
        raise NotMeasured("the fused kernel is for CUDA devices")
    kernels = _kernels()
    figures: dict[str, Any] = {"batch_size": options.batch}
    for dtype in options.dtypes:
        model = options.open(dtype)
        figures[dtype] = _chosen(model) | {"forwards": _forwards(model, kernels, options)}
        figures[dtype]["layers"] = [
            _layer(shape, dtype, kernels, options) for shape in sorted(_shapes(model))
        ]
    return figures


def _kernels() -> dict[str, Attend]:
    """Return the plain and the fused attention by name."""
    if "attend" not in inspect.signature(probe.watch_attention).parameters:
        raise NotMeasured("watch_attention has no option attend to switch")
    return {
        name: getattr(importlib.import_module(f"scanner.probe.{module}"), f"{name}_attention")
        for name, module in (("plain", "attention"), ("fused", "fused"))
    }


def _chosen(model: DiffusionModel) -> dict[str, Any]:
    """Return the attention that a scorer would use here, and its warnings."""
    choose = getattr(probe, "choose_attend", None)
    if choose is None:
        return {"chosen": None, "warnings": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attend = choose(model.denoiser, model.layers)
    return {"chosen": attend.__name__, "warnings": [str(one.message) for one in caught]}


def _forwards(
    model: DiffusionModel, kernels: dict[str, Attend], options: Options
) -> dict[str, Any]:
    stock = bare(model, options.batch)

    def recording(attend: Attend) -> None:
        with probe.watch_attention(model.denoiser, model.layers, **{"attend": attend}):  # type: ignore[arg-type]
            stock()

    variants = {"stock": stock}
    variants |= {name: functools.partial(recording, attend) for name, attend in kernels.items()}
    durations = {name: seconds(run, model.device, options) for name, run in variants.items()}
    return {
        **{f"captions_per_second_{name}": options.batch / each for name, each in durations.items()},
        "overhead_plain": durations["plain"] / durations["stock"] - 1,
        "overhead_fused": durations["fused"] / durations["stock"] - 1,
        "fused_over_plain": durations["plain"] / durations["fused"],
    }


def _shapes(model: DiffusionModel) -> set[tuple[int, int, int]]:
    """Return the distinct (positions, heads, channels per head) of the cross-attentions."""
    shapes, hooks = set(), []

    def note(attn: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        width: int = attn.to_q.out_features // attn.heads
        shapes.add((inputs[0].shape[1], attn.heads, width))

    for name in model.layers:
        hooks.append(model.denoiser.get_submodule(name).register_forward_pre_hook(note))
    try:
        bare(model, 1)()
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _layer(
    shape: tuple[int, int, int], dtype: str, kernels: dict[str, Attend], options: Options
) -> dict[str, Any]:
    """Time one shape: milliseconds of the plain, the fused and torch's attention (no statistics),
    and the difference between the fused and the plain one."""
    (positions, heads, width), device = shape, torch.device(options.device)
    q, k, v = (
        torch.randn(options.batch, length, heads, width, device=device).to(DTYPES[dtype])
        for length in (positions, TEXT, TEXT)
    )
    variants: dict[str, Callable[[], Any]] = {
        name: functools.partial(attend, q, k, v, width**-0.5) for name, attend in kernels.items()
    }
    plain, ours = (variants[name]() for name in ("plain", "fused"))
    stock = tuple(x.transpose(1, 2) for x in (q, k, v))
    variants["stock"] = functools.partial(scaled_dot_product_attention, *stock)
    gaps = [float((a.float() - b.float()).abs().max()) for a, b in zip(plain, ours, strict=True)]
    return {
        "positions": positions,
        "heads": heads,
        "width": width,
        **{
            f"milliseconds_{name}": 1e3 * seconds(_repeated(run), device, options) / REPEATS
            for name, run in variants.items()
        },
        "max_difference_output": gaps[0],
        "max_difference_mean_attention": gaps[1],
    }


def _repeated(run: Callable[[], Any]) -> Callable[[], None]:
    def repeat() -> None:
        for _ in itertools.repeat(None, REPEATS):
            run()

    return repeat
