"""Choose the cheapest forwards for a set of signals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scanner.errors import UserError
from scanner.models.traits import Trait
from scanner.signals.noise_level import FIRST, LOW, NoiseLevel, timestep


@dataclass(frozen=True)
class Needs:
    """The model outputs that a signal requires. ``|`` combines needs; each output is computed once.

    attention: ā of the early layers on pure noise at these noise levels. noise: ε_c and ε_∅ on pure
    noise at these noise levels. trajectory: the whole guided denoising, with attention. gradient:
    ∂ ‖ε_c − ε_∅‖ / ∂ text at step 0. traits: those that the model must have. Flow-matching models
    have velocities in place of noise.
    """

    attention: frozenset[NoiseLevel] = frozenset()
    noise: frozenset[NoiseLevel] = frozenset()
    trajectory: bool = False
    gradient: bool = False
    traits: frozenset[Trait] = frozenset()

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.attention | other.attention,
            self.noise | other.noise,
            self.trajectory or other.trajectory,
            self.gradient or other.gradient,
            self.traits | other.traits,
        )


@dataclass(frozen=True)
class Schedule:
    """The forwards per caption and seed, in run order.

    on_noise: the forwards on pure noise with the caption, noisiest first: by timestep, the number
    of layers to run, None for the whole denoiser. later_steps: pairs of branches after
    step 0 of a trajectory, which is then one of ``on_noise``. gradient: a forward and a backward at
    step 0. timesteps: of each noise level that the signals name.
    """

    on_noise: Mapping[float, int | None]
    later_steps: int = 0
    gradient: bool = False
    timesteps: Mapping[NoiseLevel, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, needs: Needs, early_depth: int, times: Sequence[float], training_steps: int = 1000
    ) -> "Schedule":
        """Return the cheapest schedule that meets the needs, given the denoising's timesteps."""
        whole = needs.noise | ({FIRST} if needs.trajectory else set())
        levels = {
            level: timestep(level, times, training_steps) for level in whole | needs.attention
        }
        to_the_end = {levels[level] for level in whole}
        return cls(
            on_noise={
                time: None if time in to_the_end else early_depth
                for time in sorted(set(levels.values()), reverse=True)
            },
            later_steps=len(times) - 1 if needs.trajectory else 0,
            gradient=needs.gradient,
            timesteps=levels,
        )

    @property
    def forwards(self) -> int:
        """Forwards of the denoiser per caption and seed. A partial forward counts as one, a
        backward as two."""
        return len(self.on_noise) + 2 * self.later_steps + 3 * self.gradient

    def lines(self, layers: int, steps: int) -> list[str]:
        """Describe the schedule, one line per forward."""
        shared = "what does not see the caption is shared by all captions"
        lines = []
        for time, depth in self.on_noise.items():
            how = "whole model" if depth is None else f"up to layer {depth - 1} of {layers}"
            lines.append(f"{self._named(time)}, with the caption: {how}; {shared}")
        if None in self.on_noise.values():
            lines.append("the same without a caption: once per seed, shared by all captions")
        if self.later_steps:
            lines.append(
                f"steps 1 to {steps - 1} of the guided trajectory, with and without the caption: "
                f"{2 * self.later_steps} whole forwards; its step 0 is the one above"
            )
        if self.gradient:
            lines.append("step 0, with the caption: a whole forward and its backward")
        return lines

    def _named(self, time: float) -> str:
        levels = [level for level, its_time in self.timesteps.items() if its_time == time]
        if FIRST in levels:
            return "step 0"
        named = "the low-noise step" if LOW in levels else "pure noise"
        return f"{named} (timestep {time:g})"


def check_timesteps(needs: Needs, count: int) -> None:
    """Raise UserError if the needs name a timestep that a model with ``count`` of them lacks."""
    for level in needs.attention | needs.noise:
        if isinstance(level, int) and not 0 <= level < count:
            raise UserError(f"signals at timestep {level}: this model has 0 to {count - 1}")
