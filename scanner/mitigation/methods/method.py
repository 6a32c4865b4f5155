"""The interface of a mitigation method."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from scanner.errors import UsageError
from scanner.mitigation.forward import Forward
from scanner.mitigation.generation import Generation


class Method:
    """What a method changes in a generation; every part changes nothing by default.

    Subclasses are dataclasses: their fields are the settings, all numbers. State of a running
    generation belongs in ``generation.state``, which every generation starts empty. Rows that are
    not flagged must stay as they are: see :meth:`Generation.mix`.

    Shapes: N rows with a caption; R = 2N rows of a forward, those without a caption first.
    """

    changes_guidance = False
    """Whether ``combine`` changes how far the guidance goes."""

    def check(self) -> None:
        """Raise UsageError for settings out of range."""

    @contextmanager
    def install(self, pipe: Any) -> Iterator[None]:
        """Change the pipeline for the duration of the context. Raises UserError for pipelines that
        lack what the method needs."""
        yield

    def start(self, forward: Forward, generation: Generation) -> Tensor | None:
        """Return other initial latents (N, C, h, w), as the denoiser gets them; None: the same.

        ``forward``: the first step's.
        """
        return None

    def prepare(self, forward: Forward, generation: Generation) -> Forward:
        """Return the forward to run in place of this one."""
        return forward

    def combine(self, forward: Forward, output_RCHW: Tensor, generation: Generation) -> Tensor:
        """Return the output (R, C, h, w) that the pipeline guides by, in place of this one."""
        return output_RCHW


def positive(name: str, value: float) -> None:
    """Raise UsageError unless a setting is positive."""
    if not value > 0:
        raise UsageError(f"mitigation: {name}={value}: must be positive")


def not_negative(name: str, value: float) -> None:
    """Raise UsageError if a setting is negative."""
    if value < 0:
        raise UsageError(f"mitigation: {name}={value}: must not be negative")


def count(name: str, value: float) -> None:
    """Raise UsageError unless a setting is a whole number of at least 1."""
    if value != int(value) or value < 1:
        raise UsageError(f"mitigation: {name}={value}: must be a whole number of at least 1")


REFERENCE_SIZE = 4 * 64 * 64
"""Numbers in the latents that published settings are for: Stable Diffusion 1 at 512 px."""


def norm_ratio(latents_NCHW: Tensor) -> float:
    """Return how much larger norms of these latents are than those of Stable Diffusion 1's.

    Norms of noise grow with the square root of the number of elements, so a published distance or
    target times this ratio means the same at another size.
    """
    return float((latents_NCHW[0].numel() / REFERENCE_SIZE) ** 0.5)
