"""Estimate the memory that scoring takes on a device."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scanner.models import DiffusionModel
from scanner.models.device.device_memory import largest_layer_bytes, offloaded_bytes, weight_bytes
from scanner.models.random.meta import on_meta
from scanner.scoring.batch_size import FIRST, MOST
from scanner.scoring.forwards import Forwards
from scanner.scoring.observing import observe
from scanner.scoring.peak_memory import peak_bytes
from scanner.scoring.scorer import Scorer

MEASURED_AT = (1, 2, 4, FIRST, 4 * FIRST)
"""Batch sizes whose activations are counted, see :class:`Activations`."""
STEPS = (2, 4)
"""Steps of a trajectory that are counted: a whole one takes minutes, also without computing."""


@dataclass(frozen=True)
class Activations:
    """Peak bytes of tensors in a batch, besides weights, at some batch sizes, ascending.

    Between sizes, and beyond the last, they lie on lines: some operations work through a large
    batch in parts, and others need memory that does not depend on the batch.
    """

    measured: tuple[tuple[int, int], ...]

    @property
    def per_caption(self) -> int:
        """Bytes that one more caption in a batch takes."""
        (few, least), (many, most) = self.measured[-2:]
        return -(-(most - least) // (many - few))

    def of(self, captions: int) -> int:
        """Return the bytes of a batch."""
        sizes, values = zip(*self.measured, strict=True)
        if captions > sizes[-1]:
            return int(values[-1] + (captions - sizes[-1]) * self.per_caption)
        return int(np.interp(captions, sizes, values))


@dataclass(frozen=True)
class MemoryEstimate:
    """What scoring needs: bytes of weights by part, and activations of both stages.

    dtype: of the denoiser. text_encoders: names of their parts. largest_layer: bytes of the largest
    layer among them. encoding: of the text encoders. denoising: of the denoiser, with the encoded
    text. Neither includes what kernels allocate inside (workspaces of cuDNN). visiting: bytes of
    the denoiser on the device at a time if it is offloaded, None if it cannot be.
    """

    dtype: str
    weights: dict[str, int]
    text_encoders: tuple[str, ...]
    largest_layer: int
    encoding: Activations
    denoising: Activations

    visiting: int | None = None

    def activations(self, captions: int, offloads: bool = False) -> int:
        """Return the peak bytes of activations in a batch. ``offloads``: the text encoders are in
        host memory; their largest layer counts here."""
        layer = self.largest_layer if offloads else 0
        return max(layer + self.encoding.of(captions), self.denoising.of(captions))

    def needed(self, captions: int, offloads: bool = False, offloads_denoiser: bool = False) -> int:
        """Return the bytes on the device for a batch, weights included."""
        return self.held(offloads, offloads_denoiser) + self.activations(captions, offloads)

    def held(self, offloads: bool = False, offloads_denoiser: bool = False) -> int:
        """Return the bytes of weights on the device, but for layers of offloaded text encoders."""
        text = sum(self.weights[part] for part in self.text_encoders)
        denoiser = sum(self.weights.values()) - text
        if offloads_denoiser and self.visiting is not None:
            denoiser = self.visiting
        return denoiser if offloads else denoiser + text

    def largest_batch(
        self, free: int, offloads: bool = False, offloads_denoiser: bool = False
    ) -> int:
        """Return how many captions per batch fit into so many free bytes, weights included."""
        return _largest(free, lambda captions: self.needed(captions, offloads, offloads_denoiser))

    def largest_encoding(self, free: int, offloads_denoiser: bool = False) -> int:
        """Return how many captions offloaded text encoders can encode at a time, at most MOST,
        since encoded texts are kept in host memory."""
        held = self.held(True, offloads_denoiser) + self.largest_layer
        return _largest(free, lambda captions: held + self.encoding.of(captions))


def estimate_memory(
    scorer: Scorer, device: str, sizes: Sequence[int] | None = None
) -> MemoryEstimate:
    """Count the memory of a scorer on a kind of device by running its schedule on the meta device.

    ``sizes``: batch sizes to count, ascending, by default MEASURED_AT; with one, only that batch is
    known. The forwards are those of uncompiled scoring. CUDA graphs keep a second set of
    activations.
    """
    model, sizes = on_meta(scorer.model), sizes or MEASURED_AT
    encoding = _measured(lambda captions: _encoding_bytes(scorer, model, captions), sizes)
    denoising = _denoising(scorer, model, device, sizes)
    encoders = model.text_encoders
    layer = max(map(largest_layer_bytes, encoders.values()))
    dtype = str(model.dtype).removeprefix("torch.")
    return MemoryEstimate(
        dtype,
        weight_bytes(model),
        tuple(encoders),
        layer,
        encoding,
        denoising,
        offloaded_bytes(model.denoiser) if scorer.can_offload else None,
    )


def scoring_bytes(
    scorer: Scorer,
    model: DiffusionModel,
    captions: int,
    device: str,
    is_encoded: bool = False,
    steps: int | None = None,
) -> int:
    """Return the peak of live tensors in the first batch of a scorer's schedule.

    ``model``: the scorer's, or its copy on the meta device. ``device``: the kind that this stands
    for. ``is_encoded``: do not run the text encoders, only hold their output. ``steps``: of a
    trajectory, by default the scorer's.
    """
    steps = steps or scorer.steps
    forwards = Forwards(model, scorer.latent_shape, steps, scorer.guidance, device)
    schedule = scorer.schedule_of(forwards.times)
    _ = forwards.attend  # compares kernels once, which takes additional memory
    tokens = model.tokenize([""] * captions).to(model.device)
    text = model.encode(tokens, scorer.latent_shape) if is_encoded else None

    def run() -> Any:
        held = text and text.copy()
        observations = observe(forwards, schedule, tokens, scorer.seeds, held)
        return [[signal.compute(one) for signal in scorer.signals] for one in observations]

    return peak_bytes(run, model.device.type)


def _denoising(
    scorer: Scorer, model: DiffusionModel, device: str, sizes: Sequence[int]
) -> Activations:
    """Count the activations of a schedule; those of a long trajectory, which keeps a little of each
    step, from two short ones."""
    few, more = STEPS

    def count(captions: int, steps: int) -> int:
        return scoring_bytes(scorer, model, captions, device, True, steps)

    if not scorer.schedule.later_steps or scorer.steps <= more:
        return _measured(lambda captions: count(captions, scorer.steps), sizes)
    per_step = (count(1, more) - count(1, few)) / (more - few)
    kept = int(per_step * (scorer.steps - few))
    return _measured(lambda captions: count(captions, few) + kept * captions, sizes)


def _encoding_bytes(scorer: Scorer, model: DiffusionModel, captions: int) -> int:
    tokens = model.tokenize([""] * captions)
    return peak_bytes(lambda: model.encode(tokens, scorer.latent_shape), "meta")


def _largest(free: int, needed: Callable[[int], int]) -> int:
    """Return the most captions, up to MOST, that need at most so many bytes."""
    return bisect_right(range(1, MOST + 1), free, key=needed)


def _measured(measure: Callable[[int], int], sizes: Sequence[int]) -> Activations:
    return Activations(tuple((captions, measure(captions)) for captions in sizes))
