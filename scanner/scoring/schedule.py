"""Choose the cheapest forwards for a set of signals."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """The model outputs that a signal requires. ``|`` combines needs; each output is computed once.

    attention: ā of the early layers at step 0. noise: ε_c and ε_∅ at step 0. low_noise: both
    at the low-noise step, on the same pure noise. trajectory: the whole guided denoising, with
    attention. gradient: ∂ ‖ε_c − ε_∅‖ / ∂ text at step 0.
    """

    attention: bool = False
    noise: bool = False
    low_noise: bool = False
    trajectory: bool = False
    gradient: bool = False

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.attention or other.attention,
            self.noise or other.noise,
            self.low_noise or other.low_noise,
            self.trajectory or other.trajectory,
            self.gradient or other.gradient,
        )


@dataclass(frozen=True)
class Schedule:
    """The forwards per caption and seed, in run order.

    first: whether the conditional branch runs at step 0. depth: number of cross-attention layers
    that it runs, None for the whole U-Net. low: the conditional branch at the low-noise step.
    later_steps: pairs of branches after step 0 of a trajectory, whose first step is ``first``.
    gradient: a forward and a backward at step 0.
    """

    first: bool
    depth: int | None
    low: bool
    later_steps: int
    gradient: bool

    @classmethod
    def of(cls, needs: Needs, early_depth: int, steps: int) -> "Schedule":
        """Return the cheapest schedule that meets the needs."""
        whole = needs.noise or needs.trajectory
        return cls(
            first=needs.attention or whole,
            depth=None if whole else early_depth,
            low=needs.low_noise,
            later_steps=steps - 1 if needs.trajectory else 0,
            gradient=needs.gradient,
        )

    @property
    def forwards(self) -> int:
        """Forwards of the U-Net per caption and seed. A partial forward counts as one, a backward
        as two."""
        return self.first + self.low + 2 * self.later_steps + 3 * self.gradient

    def lines(self, layers: int, steps: int) -> list[str]:
        """Describe the schedule, one line per forward."""
        shared = "what precedes the first cross-attention is shared by all captions"
        lines = []
        if self.first:
            how = (
                "whole U-Net" if self.depth is None else f"up to layer {self.depth - 1} of {layers}"
            )
            lines.append(f"step 0, with the caption: {how}; {shared}")
        if self.low:
            lines.append(f"low-noise step, with the caption: whole U-Net; {shared}")
        if (self.first and self.depth is None) or self.low:
            lines.append("the same without a caption: once per seed, shared by all captions")
        if self.later_steps:
            lines.append(
                f"steps 1 to {steps - 1} of the guided trajectory, with and without the caption: "
                f"{2 * self.later_steps} whole forwards; its step 0 is the one above"
            )
        if self.gradient:
            lines.append("step 0, with the caption: a whole forward and its backward")
        return lines
