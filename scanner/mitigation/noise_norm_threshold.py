"""Select the captions of a generation that look memorized, by the noise norm of its first step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation.prompt_hook import PromptRows
from scanner.models.diffusion_model import score_scheduler
from scanner.signals.noise import noise_norm

SIGNAL = "noise_norm_first"


@dataclass(frozen=True)
class NoiseNormThreshold:
    """Threshold on the noise norm ‖ε_c − ε_∅‖ of the first step; flags captions at or above it.

    ``steps``, ``latent_shape``: those it was calibrated with (None: any), since the norm depends on
    the first step's noise level and the size of the latents. ``source``: names it in errors.
    """

    value: float
    steps: int | None = None
    latent_shape: tuple[int, ...] | None = None
    source: str = ""

    def check(self, timestep: int, shape: Sequence[int], scheduler: Any) -> None:
        """Raise UserError unless a generation starts like those of the calibration.

        ``timestep``, ``shape`` (C, h, w): of the generation's first step.
        """
        if self.latent_shape is not None and tuple(shape) != self.latent_shape:
            raise UserError(
                f"mitigation: {self.source} was calibrated for latents of "
                f"{_size(self.latent_shape)}, but this generation uses {_size(shape)}; generate at "
                "that size, or calibrate on a scan at this size"
            )
        if self.steps is None:
            return
        schedule = score_scheduler(scheduler.config)
        schedule.set_timesteps(self.steps)
        first = int(schedule.timesteps[0])
        if timestep != first:
            raise UserError(
                f"mitigation: {self.source} was calibrated for {self.steps} steps, which start at "
                f"timestep {first}, but this generation starts at {timestep}; generate with "
                f"num_inference_steps={self.steps}, or calibrate on a scan with other --steps"
            )


def calibrated_threshold(url: str) -> NoiseNormThreshold:
    """Read the threshold of noise_norm_first from a calibration file.

    Does not check that the pipeline has the calibrated weights. Raises UserError if the file has no
    such threshold.
    """
    from scanner.calibration.file import read_calibration

    calibration = read_calibration(url)
    for threshold in calibration.thresholds:
        if threshold.signal == SIGNAL:
            binding = calibration.binding
            return NoiseNormThreshold(
                threshold.threshold, binding["steps"], tuple(binding["latent_shape"]), url
            )
    raise UserError(
        f"{url}: has no threshold for {SIGNAL}, which mitigation needs; calibrate on a scan with "
        "that signal (the standard profile has it)"
    )


def first_noise_norm(
    rows: PromptRows, sample_RCHW: Tensor, timestep: Any, scheduler: Any
) -> Tensor:
    """Return ‖ε_c − ε_∅‖₂ per row (N,), from the U-Net's output for both halves of the batch.

    Raises UserError if the batch has no half with the empty caption.
    """
    if len(sample_RCHW) != 2 * rows.count:
        raise UserError(
            "mitigation: a threshold needs guidance, since it compares with the empty caption; set "
            "guidance_scale above 1"
        )
    if rows.negative:
        raise UserError(
            "mitigation: a threshold compares with the empty caption, but the pipeline was given a "
            "negative prompt; omit one of the two"
        )
    unconditional, conditional = sample_RCHW.chunk(2)
    norm_N = noise_norm(conditional, unconditional)
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return norm_N
    if kind != "v_prediction":
        raise UserError(f"mitigation: a threshold does not support prediction type {kind}")
    # ε = √ᾱ v + √(1−ᾱ) x with the same x in both halves, so it cancels in the difference.
    return norm_N * scheduler.alphas_cumprod[round(float(timestep))].item() ** 0.5


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
