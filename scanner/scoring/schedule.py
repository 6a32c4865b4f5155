"""Which forwards serve a set of signals at the least cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """What a signal has to see. Needs add up by ``|``; the schedule runs their sum, once.

    attention: ā of the early layers at step 0. noise: ε_c and ε_∅ at step 0. low_noise: the same
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
    """The forwards of one caption and seed, in the order in which they run.

    first: at step 0, the conditional branch; None, or up to how many cross-attention layers
    (``depth``, None for the whole U-Net). low: the conditional branch at the low-noise step.
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
        """The cheapest schedule that serves the needs."""
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
        """Forwards of the U-Net per caption and seed, a partial one as a whole one; a backward
        counts as two."""
        return self.first + self.low + 2 * self.later_steps + 3 * self.gradient

    def lines(self, layers: int, steps: int) -> list[str]:
        """The schedule in words, a forward a line."""
        shared = "what precedes the first cross-attention is shared by all captions"
        found = []
        if self.first:
            how = (
                "whole U-Net" if self.depth is None else f"up to layer {self.depth - 1} of {layers}"
            )
            found.append(f"step 0, with the caption: {how}; {shared}")
        if self.low:
            found.append(f"low-noise step, with the caption: whole U-Net; {shared}")
        if (self.first and self.depth is None) or self.low:
            found.append("the same without a caption: once a seed, shared by all captions")
        if self.later_steps:
            found.append(
                f"steps 1 to {steps - 1} of the guided trajectory, with and without the caption: "
                f"{2 * self.later_steps} whole forwards; its step 0 is the one above"
            )
        if self.gradient:
            found.append("step 0, with the caption: a whole forward and its backward")
        return found
