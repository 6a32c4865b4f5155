"""The results of the forwards for a batch of captions, and the signals computed from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TypeVar

import pyarrow as pa
import torch
from torch import Tensor

from scanner.run.schema import column
from scanner.scoring.derivatives import StepDerivatives
from scanner.scoring.forwards import AnisotropyTerms
from scanner.scoring.schedule import Needs
from scanner.scoring.trajectory import Trajectory
from scanner.signals.attention import attention_entropy
from scanner.signals.noise import mean_cosine, noise_norm, velocity_cosine
from scanner.signals.noise_level import NoiseLevel

Part = TypeVar("Part")


@dataclass(frozen=True)
class OnNoise:
    """Results of one forward of B captions on pure noise; None if not needed.

    early_layers: consecutive numbers. x_1CHW: the noise; alpha: ᾱ, None for flow matching.
    attention_NBL: ā of the N layers that ran, in run order, a distribution over the text.
    conditional, unconditional: ε_c (B, C, h, w) and ε_∅ (1, C, h, w), or v_c and v_∅.
    text_share_NB: the text's share of a joint attention.
    """

    early_layers: tuple[int, ...]
    entropy_layer: int
    x_1CHW: Tensor
    alpha: float | None
    attention_NBL: Tensor
    conditional: Tensor | None
    unconditional: Tensor | None
    text_share_NB: Tensor | None = None

    @cached_property
    def entropies(self) -> Tensor:
        """Entropy of every layer's ā, (N, B)."""
        return attention_entropy(self.attention_NBL)

    @cached_property
    def early(self) -> Tensor:
        """Mean of ā over the early layers, (B, L)."""
        return self.attention_NBL[self.early_layers[0] : self.early_layers[-1] + 1].mean(0)

    @cached_property
    def early_share(self) -> Tensor:
        """Mean of the text's share over the early layers, (B,)."""
        return required(self.text_share_NB)[: self.early_layers[-1] + 1].mean(0)

    @cached_property
    def noise_norm(self) -> Tensor:
        """‖ε_c − ε_∅‖₂, or ‖v_c − v_∅‖₂, (B,)."""
        return noise_norm(required(self.conditional), required(self.unconditional))

    @cached_property
    def cosine(self) -> Tensor:
        """Cosine term of the anisotropy, (B,)."""
        return mean_cosine(required(self.conditional), required(self.unconditional))

    @cached_property
    def velocity_cosine(self) -> Tensor:
        """The same of v-predictions, (B,)."""
        return velocity_cosine(
            required(self.conditional),
            required(self.unconditional),
            self.x_1CHW,
            required(self.alpha),
        )


@dataclass(frozen=True)
class Observation:
    """Results of the forwards for one batch of B captions at one seed; None if not needed.

    is_prompt_BL: which text positions hold the caption's words. begins: how many positions precede
    them. on_noise: those on pure noise, by timestep; timesteps: of each noise level. second_BCHW:
    ε_c, or v_c, of step 1. gradient_BL: norm of the gradient at each text position. derivatives:
    those at step 0.
    """

    is_prompt_BL: Tensor
    on_noise: Mapping[float, OnNoise] = field(default_factory=dict)
    timesteps: Mapping[NoiseLevel, float] = field(default_factory=dict)
    anisotropy_terms: AnisotropyTerms | None = None
    trajectory: Trajectory | None = None
    second_BCHW: Tensor | None = None
    gradient_BL: Tensor | None = None
    derivatives: StepDerivatives = field(default_factory=StepDerivatives)
    begins: int = 1

    def at(self, level: NoiseLevel) -> OnNoise:
        """Return the results on pure noise at a noise level."""
        return self.on_noise[self.timesteps[level]]


def required(value: Part | None) -> Part:
    """Return a part of an observation that the signal declares in its needs."""
    assert value is not None, "a signal reads a part of the observation missing from its needs"
    return value


@dataclass(frozen=True)
class Signal:
    """One column of the score table.

    compute: returns (B,), or (B, K) for a list column; the table holds the mean over the seeds.
    memorized: +1 if memorized captions have higher values according to the source, −1 if lower, 0
    for no direction: rankings and calibrations omit the column. seeds_column: name
    of the list column with the value per seed. by_token: truncate the list to the caption's tokens.
    level: its noise level, if the signal is computed from one forward on pure noise.
    """

    field: pa.Field
    needs: Needs
    compute: Callable[[Observation], Tensor]
    memorized: int
    seeds_column: str | None = None
    by_token: bool = False
    level: NoiseLevel | None = None

    @property
    def name(self) -> str:
        return self.field.name

    def values(self, observations: Sequence[Observation]) -> list[Tensor]:
        """Return the value at each seed, given the observations of all seeds of one batch."""
        return [self.compute(one) for one in observations]

    @property
    def documented_field(self) -> pa.Field:
        """The field, with the direction (higher or lower if memorized) in its metadata."""
        if not self.memorized:
            return self.field
        direction = {"memorized": "higher" if self.memorized > 0 else "lower"}
        return self.field.with_metadata({**(self.field.metadata or {}), **direction})

    def fields_at(self, timesteps: Mapping[NoiseLevel, float]) -> list[pa.Field]:
        """Return the signal's column, and that of its values per seed if it has one."""
        if self.seeds_column is None:
            return [self.field_at(timesteps)]
        of_seeds = column(self.seeds_column, pa.list_(pa.float32()), f"{self.name} of each seed")
        return [self.field_at(timesteps), of_seeds]

    def field_at(self, timesteps: Mapping[NoiseLevel, float]) -> pa.Field:
        """Return the documented field, with the timestep of its noise level in the metadata."""
        if self.level is None:
            return self.documented_field
        metadata = self.documented_field.metadata or {}
        return self.field.with_metadata({**metadata, "timestep": f"{timesteps[self.level]:g}"})


@dataclass(frozen=True, kw_only=True)
class PairSignal(Signal):
    """A signal that compares seeds in pairs; the table holds the mean over all pairs.

    compute: returns what is compared of a seed, of any shape (B, …). compare: returns (B,) of two
    seeds, whatever their order.
    """

    compare: Callable[[Tensor, Tensor], Tensor]

    def values(self, observations: Sequence[Observation]) -> list[Tensor]:
        """Return the mean over each seed's pairs: their mean over the seeds is that over all pairs,
        as each pair counts once for both of its seeds."""
        compared = [self.compute(one) for one in observations]
        sums = [torch.zeros(len(compared[0]), device=compared[0].device) for _ in compared]
        for first, second in combinations(range(len(compared)), 2):
            of_pair_B = self.compare(compared[first], compared[second])
            sums[first] = sums[first] + of_pair_B
            sums[second] = sums[second] + of_pair_B
        return [total_B / (len(compared) - 1) for total_B in sums]
