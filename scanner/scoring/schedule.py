"""Choose the cheapest forwards for a set of signals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from scanner.errors import UserError
from scanner.models.traits import Trait
from scanner.signals.noise_level import FIRST, LOW, NoiseLevel, timestep

Derivative = Literal["along_difference", "along_text", "gradients"]
FORWARDS_OF: dict[Derivative, int] = {"along_difference": 4, "along_text": 2, "gradients": 3}
"""Forwards that a derivative counts as: two Jacobian-vector products of two forwards each (the
value and its derivative), one of them, and a forward with its backward. Attention's products are
differentiated in both factors, which this leaves out; so is the unconditional part of
``gradients``, which is shared."""


@dataclass(frozen=True)
class Needs:
    """The model outputs that a signal requires. ``|`` combines needs; each output is computed once.

    attention: ā of the early layers on pure noise at these noise levels. conditional: ε_c on pure
    noise at these noise levels. noise: ε_c and ε_∅. trajectory: the whole guided denoising, with
    attention. second_step: ε_c of its step 1. gradient: ∂ ‖ε_c − ε_∅‖ / ∂ text at step 0.
    derivatives: parts of :class:`~scanner.scoring.derivatives.StepDerivatives`. traits: those that
    the model and the options must have. Flow-matching models have velocities in place of noise.
    """

    attention: frozenset[NoiseLevel] = frozenset()
    conditional: frozenset[NoiseLevel] = frozenset()
    noise: frozenset[NoiseLevel] = frozenset()
    trajectory: bool = False
    second_step: bool = False
    gradient: bool = False
    derivatives: frozenset[Derivative] = frozenset()
    traits: frozenset[Trait] = frozenset()

    @property
    def levels(self) -> frozenset[NoiseLevel]:
        """The noise levels of all forwards on pure noise."""
        return self.attention | self.conditional | self.pairs

    @property
    def pairs(self) -> frozenset[NoiseLevel]:
        """The noise levels of forwards on pure noise with and without the caption."""
        continues = self.trajectory or self.second_step or "along_difference" in self.derivatives
        return self.noise | ({FIRST} if continues else set())

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.attention | other.attention,
            self.conditional | other.conditional,
            self.noise | other.noise,
            self.trajectory or other.trajectory,
            self.second_step or other.second_step,
            self.gradient or other.gradient,
            self.derivatives | other.derivatives,
            self.traits | other.traits,
        )


@dataclass(frozen=True)
class Schedule:
    """The forwards per caption and seed, in run order.

    on_noise: the forwards on pure noise with the caption, noisiest first: by timestep, the number
    of layers to run, None for the whole denoiser. unconditional: timesteps of those that also run
    without a caption. later_steps: pairs of branches after step 0 of a trajectory, which is then
    one of ``on_noise``. second_step: whether step 1 runs without the rest of a trajectory, only
    with the caption. gradient: a forward and a backward at step 0. derivatives: see FORWARDS_OF.
    timesteps: of each noise level that the signals name.
    """

    on_noise: Mapping[float, int | None]
    unconditional: frozenset[float] = frozenset()
    later_steps: int = 0
    second_step: bool = False
    gradient: bool = False
    derivatives: frozenset[Derivative] = frozenset()
    timesteps: Mapping[NoiseLevel, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, needs: Needs, early_depth: int, times: Sequence[float], training_steps: int = 1000
    ) -> "Schedule":
        """Return the cheapest schedule that meets the needs, given the denoising's timesteps."""
        levels = {level: timestep(level, times, training_steps) for level in needs.levels}
        to_the_end = {levels[level] for level in needs.conditional | needs.pairs}
        return cls(
            on_noise={
                time: None if time in to_the_end else early_depth
                for time in sorted(set(levels.values()), reverse=True)
            },
            unconditional=frozenset(levels[level] for level in needs.pairs),
            later_steps=len(times) - 1 if needs.trajectory else 0,
            second_step=needs.second_step and not needs.trajectory,
            gradient=needs.gradient,
            derivatives=needs.derivatives,
            timesteps=levels,
        )

    @property
    def forwards(self) -> int:
        """Forwards of the denoiser per caption and seed. A partial forward counts as one, a
        backward as two, a Jacobian-vector product as two."""
        return len(self.on_noise) + self.whole_forwards

    @property
    def whole_forwards(self) -> int:
        """As :attr:`forwards`, without those on pure noise."""
        derivatives = sum(FORWARDS_OF[one] for one in self.derivatives)
        return 2 * self.later_steps + self.second_step + 3 * self.gradient + derivatives

    def lines(self, layers: int, steps: int) -> list[str]:
        """Describe the schedule, one line per forward."""
        shared = "what does not see the caption is shared by all captions"
        lines = []
        for time, depth in self.on_noise.items():
            how = "whole model" if depth is None else f"up to layer {depth - 1} of {layers}"
            lines.append(f"{self._named(time)}, with the caption: {how}; {shared}")
        if self.unconditional:
            lines.append("the same without a caption: once per seed, shared by all captions")
        if self.later_steps:
            lines.append(
                f"steps 1 to {steps - 1} of the guided trajectory, with and without the caption: "
                f"{2 * self.later_steps} whole forwards; its step 0 is the one above"
            )
        if self.second_step:
            lines.append("step 1 of the guided trajectory, with the caption: a whole forward")
        if self.gradient:
            lines.append("step 0, with the caption: a whole forward and its backward")
        lines += [_DERIVATIVES[one] for one in FORWARDS_OF if one in self.derivatives]
        return lines

    def _named(self, time: float) -> str:
        levels = [level for level, its_time in self.timesteps.items() if its_time == time]
        if FIRST in levels:
            return "step 0"
        named = "the low-noise step" if LOW in levels else "pure noise"
        return f"{named} (timestep {time:g})"


_DERIVATIVES: dict[Derivative, str] = {
    "along_difference": "step 0: Jacobian-vector products with and without the caption",
    "along_text": "step 0: a Jacobian-vector product of the caption's text",
    "gradients": "step 0, with the caption: a whole forward and its backward to the latent; "
    "without it, once per seed",
}


def check_timesteps(needs: Needs, count: int) -> None:
    """Raise UserError if the needs name a timestep that a model with ``count`` of them lacks."""
    for level in needs.levels:
        if isinstance(level, int) and not 0 <= level < count:
            raise UserError(f"signals at timestep {level}: this model has 0 to {count - 1}")
