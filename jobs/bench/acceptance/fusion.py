"""The fused attention kernel against the plain computation: alone, and in a whole forward."""

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
"""Runs between two synchronizations, so that waiting does not count."""
Attend = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def fused(options: Options) -> dict[str, Any]:
    """Time stock forwards and watched ones, plain and fused, and each shape of attention alone."""
    if not options.on_cuda:
        raise NotMeasured("the fused kernel is for CUDA devices")
    kernels = _kernels()
    found: dict[str, Any] = {"batch_size": options.batch}
    for dtype in options.dtypes:
        model = options.open(dtype)
        found[dtype] = _chosen(model) | {"forwards": _forwards(model, kernels, options)}
        found[dtype]["layers"] = [
            _layer(shape, dtype, kernels, options) for shape in sorted(_shapes(model))
        ]
    return found


def _kernels() -> dict[str, Attend]:
    """The plain and the fused attention by name."""
    if "attend" not in inspect.signature(probe.watch_attention).parameters:
        raise NotMeasured("watch_attention has no option attend to switch")
    return {
        name: getattr(importlib.import_module(f"scanner.probe.{module}"), f"{name}_attention")
        for name, module in (("plain", "attention"), ("fused", "fused"))
    }


def _chosen(model: DiffusionModel) -> dict[str, Any]:
    """The attention that a scorer would use here, and what it warns of."""
    choose = getattr(probe, "choose_attend", None)
    if choose is None:
        return {"chosen": None, "warnings": []}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        attend = choose(model.unet, model.layers)
    return {"chosen": attend.__name__, "warnings": [str(one.message) for one in said]}


def _forwards(
    model: DiffusionModel, kernels: dict[str, Attend], options: Options
) -> dict[str, Any]:
    stock = bare(model, options.batch)

    def watched(attend: Attend) -> None:
        with probe.watch_attention(model.unet, model.layers, **{"attend": attend}):  # type: ignore[arg-type]
            stock()

    ways = {"stock": stock}
    ways |= {name: functools.partial(watched, attend) for name, attend in kernels.items()}
    took = {name: seconds(run, model.device, options) for name, run in ways.items()}
    return {
        **{f"captions_per_second_{name}": options.batch / each for name, each in took.items()},
        "overhead_plain": took["plain"] / took["stock"] - 1,
        "overhead_fused": took["fused"] / took["stock"] - 1,
        "fused_over_plain": took["plain"] / took["fused"],
    }


def _shapes(model: DiffusionModel) -> set[tuple[int, int, int]]:
    """(positions, heads, channels per head) of the cross-attentions, each shape once."""
    found, hooks = set(), []

    def note(attn: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        width: int = attn.to_q.out_features // attn.heads
        found.add((inputs[0].shape[1], attn.heads, width))

    for name in model.layers:
        hooks.append(model.unet.get_submodule(name).register_forward_pre_hook(note))
    try:
        bare(model, 1)()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _layer(
    shape: tuple[int, int, int], dtype: str, kernels: dict[str, Attend], options: Options
) -> dict[str, Any]:
    """One shape: milliseconds of the plain, the fused and torch's attention (without statistics),
    and how far the fused one is from the plain."""
    (positions, heads, width), device = shape, torch.device(options.device)
    q, k, v = (
        torch.randn(options.batch, length, heads, width, device=device).to(DTYPES[dtype])
        for length in (positions, TEXT, TEXT)
    )
    ways: dict[str, Callable[[], Any]] = {
        name: functools.partial(attend, q, k, v, width**-0.5) for name, attend in kernels.items()
    }
    plain, ours = (ways[name]() for name in ("plain", "fused"))
    stock = tuple(x.transpose(1, 2) for x in (q, k, v))
    ways["stock"] = functools.partial(scaled_dot_product_attention, *stock)
    gaps = [float((a.float() - b.float()).abs().max()) for a, b in zip(plain, ours, strict=True)]
    return {
        "positions": positions,
        "heads": heads,
        "width": width,
        **{
            f"milliseconds_{name}": 1e3 * seconds(_repeated(run), device, options) / REPEATS
            for name, run in ways.items()
        },
        "max_difference_output": gaps[0],
        "max_difference_mean_attention": gaps[1],
    }


def _repeated(run: Callable[[], Any]) -> Callable[[], None]:
    def repeat() -> None:
        for _ in itertools.repeat(None, REPEATS):
            run()

    return repeat
