"""Which captions of a generation look memorized, by what its first step shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation.listening import Rows
from scanner.models.diffusion_model import score_scheduler
from scanner.signals.noise import noise_norm

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


def first_noise_norm(rows: Rows, sample_RCHW: Tensor, timestep: Any, scheduler: Any) -> Tensor:
    """‖ε_c − ε_∅‖₂ of each row (N,), from the U-Net's output for both halves of the batch.

    Raises UserError where the batch has no half without a caption.
    """
    if len(sample_RCHW) != 2 * rows.count:
        raise UserError(
            "mitigation: a threshold needs guidance (guidance_scale above 1), since captions are "
            "chosen by how far guidance goes from the empty caption"
        )
    if rows.negative:
        raise UserError(
            "mitigation: a threshold needs the empty caption, and this pipeline was given a "
            "negative prompt; leave it out, or give no threshold"
        )
    empty, told = sample_RCHW.chunk(2)
    norm_N = noise_norm(told, empty)
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return norm_N
    if kind != "v_prediction":
        raise UserError(f"mitigation: prediction type {kind} is not supported with a threshold")
    # ε = √ᾱ v + √(1−ᾱ) x with the same x in both halves, which cancels in the difference.
    return norm_N * scheduler.alphas_cumprod[round(float(timestep))].item() ** 0.5


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
