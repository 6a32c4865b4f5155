"""The steps of a training: order of rows, learning rate, progress, moving average."""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from scanner.testbed.checkpoint import Checkpoint
from scanner.testbed.recipe import TestbedRecipe, TransformerRecipe


def file_of(checkpoints: Path | None, part: str) -> Path | None:
    return checkpoints / f"{part}.safetensors" if checkpoints else None


def batch_of(step: int, count: int, recipe: TestbedRecipe | TransformerRecipe) -> Tensor:
    """Return the row numbers of a step. Each epoch has its own order, known from the seed alone."""
    epoch, step = divmod(step, count // recipe.batch)
    generator = torch.Generator().manual_seed(1000 * (recipe.seed + 1) + epoch)
    order = torch.randperm(count, generator=generator)
    return order[step * recipe.batch : (step + 1) * recipe.batch]


def steps_of(name: str, count: int, state: Checkpoint, rate: float) -> Iterator[int]:
    """Yield the steps that are left and set the learning rate: a short warm-up, then a cosine decay
    to 5 %."""
    began = time.monotonic()
    for step in state.steps(count):
        level = min(1.0, (step + 1) / 100) * (0.525 + 0.475 * math.cos(math.pi * step / count))
        for group in state.optimizer.param_groups:
            group["lr"] = rate * level * group.get("factor", 1.0)
        yield step
    print(f"{name}: {count} steps in {time.monotonic() - began:.0f} s", file=sys.stderr)


def report(step: int, name: str, value: float) -> None:
    if step % 200 == 0:
        print(f"step {step}: {name} {value:.4f}", file=sys.stderr, flush=True)


@torch.no_grad()
def follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)
