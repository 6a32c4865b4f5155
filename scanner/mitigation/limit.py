"""From where on a caption's first step counts as memorized."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.errors import UserError
from scanner.models.diffusion_model import score_scheduler

SIGNAL = "noise_norm_first"


@dataclass(frozen=True)
class Limit:
    """A noise norm ‖ε_c − ε_∅‖ at the first step; at or above it a caption is flagged.

    ``steps``, ``latent_shape``: of the generations that it was calibrated on (None: any), since the
    norm depends on the first step's noise level and on the latents' size; ``source`` names it.
    """

    value: float
    steps: int | None = None
    latent_shape: tuple[int, ...] | None = None
    source: str = ""

    def check(self, timestep: int, shape: Sequence[int], scheduler: Any) -> None:
        """Raises UserError unless a generation begins as the calibration's did.

        ``timestep``, ``shape`` (C, h, w): of the generation's first step.
        """
        if self.latent_shape is not None and tuple(shape) != self.latent_shape:
            raise UserError(
                f"mitigation: {self.source} holds for latents of {_size(self.latent_shape)}, and "
                f"this generation's are {_size(shape)}; generate at that size, or calibrate on a "
                "scan at this one"
            )
        if self.steps is None:
            return
        schedule = score_scheduler(scheduler.config)
        schedule.set_timesteps(self.steps)
        first = int(schedule.timesteps[0])
        if timestep != first:
            raise UserError(
                f"mitigation: {self.source} holds for generations of {self.steps} steps, which "
                f"begin at timestep {first}, and this one begins at {timestep}; generate with "
                f"num_inference_steps={self.steps}, or calibrate on a scan with other --steps"
            )


def calibrated_limit(url: str) -> Limit:
    """The threshold of noise_norm_first in a file of memscan calibrate.

    Raises UserError if it has none. Whether the pipeline's weights are those that were calibrated
    is not looked at.
    """
    from scanner.calibration.file import read_calibration

    calibration = read_calibration(url)
    for one in calibration.thresholds:
        if one.signal == SIGNAL:
            bound = calibration.binding
            return Limit(one.threshold, bound["steps"], tuple(bound["latent_shape"]), url)
    raise UserError(
        f"{url}: has no threshold for {SIGNAL}, which mitigation chooses captions by; calibrate on "
        "a scan with that signal (the standard profile has it)"
    )


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
