"""Options of the parts of an acceptance run, and how they open models and measure time."""

import functools
import inspect
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from jobs.bench.device_memory import synchronize
from scanner.models import DiffusionModel, load_model
from scanner.models.random.random_weights import stable_diffusion_14
from scanner.scoring import Scorer
from scanner.scoring.cost import Cost, ForwardCosts, cost
from scanner.scoring.spec import ScoringSpec

RANDOM = "sd14-random"


class NotMeasured(Exception):
    """Raised if a part does not apply to this device; the message gives the reason."""


@dataclass(frozen=True)
class Options:
    """Options shared by the parts of an acceptance run.

    model: the model to time. dtypes: of its weights. captions: number of captions whose scores are
    compared. batch: captions per forward. deadline: ``time.monotonic()`` at which the part stops
    its rounds.
    """

    model: str
    device: str
    dtypes: tuple[str, ...]
    captions: int
    batch: int
    deadline: float = float("inf")

    def cost(self, profile: str, steps: int = ScoringSpec.steps) -> Cost:
        """Return the cost per caption, independent of the dtype; counted once per process."""
        return _counted(self.model, self.device, self.dtypes[0], profile, steps)

    @property
    def on_cuda(self) -> bool:
        return self.device.startswith("cuda")

    def open(self, dtype: str) -> DiffusionModel:
        """Return the model to time."""
        return opened(self.model, dtype, self.device)


@functools.cache
def _counted(model: str, device: str, dtype: str, profile: str, steps: int) -> Cost:
    scorer = Scorer(opened(model, dtype, device), profile, steps=steps)
    return cost(scorer, _forwards(model, device, dtype, scorer.latent_shape))


@functools.cache
def _forwards(model: str, device: str, dtype: str, latent_shape: tuple[int, ...]) -> ForwardCosts:
    return ForwardCosts(opened(model, dtype, device), latent_shape)


@functools.cache
def opened(name: str, dtype: str, device: str) -> DiffusionModel:
    """Return a model, loaded once per process."""
    if name == RANDOM:
        return stable_diffusion_14(dtype, device)
    return load_model(name, dtype=dtype, device=device)


def scorer(
    model: DiffusionModel, profile: str = "standard", compiles: bool = False, **options: Any
) -> Scorer:
    """Return a scorer, uncompiled by default: compiling takes a minute per batch size."""
    if "compile" in inspect.signature(Scorer).parameters:
        options["compile"] = compiles
    elif compiles:
        raise NotMeasured("Scorer has no option compile")
    return Scorer(model, profile, **options)


def seconds(
    run: Callable[[], Any], device: torch.device, options: Options, rounds: int = 3
) -> float:
    """Return the median time of a run over as many rounds as the deadline allows, at least one.

    A warm-up run precedes them.
    """
    run()
    synchronize(device)
    durations: list[float] = []
    while len(durations) < rounds and (not durations or time.monotonic() < options.deadline):
        began = time.perf_counter()
        run()
        synchronize(device)
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)
