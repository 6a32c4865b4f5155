"""What a part of the acceptance run is given, and how it opens models and takes times."""

import functools
import inspect
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from jobs.bench.device import wait
from scanner.models import DiffusionModel, load_model
from scanner.models.random_weights import stable_diffusion_14
from scanner.scoring import Scorer
from scanner.scoring.cost import Cost, cost
from scanner.scoring.spec import ScoringSpec

RANDOM = "sd14-random"


class NotMeasured(Exception):
    """A part has nothing to measure here; the message says why."""


@dataclass(frozen=True)
class Options:
    """What the parts of an acceptance run share.

    model: the one whose speed is measured. dtypes: of its weights. captions: how many the parts
    that compare scores take. batch: captions per forward. deadline: ``time.monotonic()`` by which
    the part ends its rounds.
    """

    model: str
    device: str
    dtypes: tuple[str, ...]
    captions: int
    batch: int
    deadline: float = float("inf")

    def cost(self, profile: str, steps: int = ScoringSpec.steps) -> Cost:
        """Return what a caption costs, counted once per process: dtypes do not change it."""
        return _counted(self.model, self.device, self.dtypes[0], profile, steps)

    @property
    def on_cuda(self) -> bool:
        return self.device.startswith("cuda")

    def open(self, dtype: str) -> DiffusionModel:
        """Return the model whose speed is measured."""
        return opened(self.model, dtype, self.device)


@functools.cache
def _counted(model: str, device: str, dtype: str, profile: str, steps: int) -> Cost:
    return cost(Scorer(opened(model, dtype, device), profile, steps=steps))


@functools.cache
def opened(name: str, dtype: str, device: str) -> DiffusionModel:
    """Return a model, loaded once per process."""
    if name == RANDOM:
        return stable_diffusion_14(dtype, device)
    return load_model(name, dtype=dtype, device=device)


def scorer(
    model: DiffusionModel, profile: str = "standard", compiles: bool = False, **options: Any
) -> Scorer:
    """Return a scorer that compiles nothing unless it is to: each size would take a minute."""
    if "compile" in inspect.signature(Scorer).parameters:
        options["compile"] = compiles
    elif compiles:
        raise NotMeasured("Scorer has no option compile")
    return Scorer(model, profile, **options)


def seconds(
    run: Callable[[], Any], device: torch.device, options: Options, rounds: int = 3
) -> float:
    """Return the median time of a run over the rounds that the deadline leaves, at least one.

    One more run goes before them as a warm-up.
    """
    run()
    wait(device)
    took: list[float] = []
    while len(took) < rounds and (not took or time.monotonic() < options.deadline):
        began = time.perf_counter()
        run()
        wait(device)
        took.append(time.perf_counter() - began)
    return statistics.median(took)
