"""Select the captions of a generation that look memorized, by a noise norm on its initial noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation.prompt_hook import PromptRows
from scanner.models.noise_process import Ddpm
from scanner.signals.noise import noise_norm
from scanner.signals.noise_level import LOW, MID, timestep

Signal = Literal["noise_norm_low", "velocity_norm_mid", "noise_norm_first"]
SIGNALS: tuple[Signal, ...] = ("noise_norm_low", "velocity_norm_mid", "noise_norm_first")


@dataclass(frozen=True)
class NoiseNormThreshold:
    """Threshold on ‖ε_c − ε_∅‖ (of flow matching: ‖v_c − v_∅‖) of the initial noise; flags captions
    at or above it.

    ``signal``: at the first step, from that step's own forward; or at the low-noise step or half of
    the training timesteps, which takes one more forward. ``steps``, ``latent_shape``: those it was
    calibrated with (None: any), since the norm depends on the noise level and the size of the
    latents. ``source``: names it in errors.
    """

    value: float
    steps: int | None = None
    latent_shape: tuple[int, ...] | None = None
    source: str = ""
    signal: Signal = "noise_norm_first"

    def check(self, first: int, shape: Sequence[int], scheduler: Any) -> None:
        """Raise UserError unless a generation starts like those of the calibration.

        ``first``, ``shape`` (C, h, w): timestep and latents of the generation's first step.
        """
        if self.latent_shape is not None and tuple(shape) != self.latent_shape:
            raise UserError(
                f"mitigation: {self.source} was calibrated for latents of "
                f"{_size(self.latent_shape)}, but this generation uses {_size(shape)}; generate at "
                "that size, or calibrate on a scan at this size"
            )
        wrong = "noise_norm_low" if is_flow_matching(scheduler) else "velocity_norm_mid"
        if self.signal == wrong:
            raise UserError(
                f"mitigation: {self.source} has a threshold of {wrong}, which this model does not "
                "have; use a calibration of this model"
            )
        if self.steps is None or self.signal != "noise_norm_first" or is_flow_matching(scheduler):
            return  # flow matching starts at σ = 1 for any number of steps
        calibrated = self._times(scheduler)[0]
        if first != calibrated:
            raise UserError(
                f"mitigation: {self.source} was calibrated for {self.steps} steps, which start at "
                f"timestep {calibrated}, but this generation starts at {first}; generate with "
                f"num_inference_steps={self.steps}, or calibrate on a scan with other --steps"
            )

    def other_timestep(self, scheduler: Any) -> float | None:
        """Return the timestep of the extra forward, None if the signal needs none."""
        if self.signal == "velocity_norm_mid":
            return timestep(MID, (), scheduler.config.num_train_timesteps)
        return timestep(LOW, self._times(scheduler)) if self.signal == "noise_norm_low" else None

    def _times(self, scheduler: Any) -> list[float]:
        assert self.steps is not None, "a calibration's threshold"
        return Ddpm(scheduler.config).timesteps(self.steps)


def is_flow_matching(scheduler: Any) -> bool:
    """Return whether a pipeline's scheduler is one of flow matching."""
    return "FlowMatch" in type(scheduler).__name__


def calibrated_threshold(url: str) -> NoiseNormThreshold:
    """Read a threshold from a calibration file: that of the first of SIGNALS which it has.

    Does not check that the pipeline has the calibrated weights. Raises UserError if the file has no
    such threshold.
    """
    from scanner.calibration.file import read_calibration

    calibration = read_calibration(url)
    thresholds = {one.signal: one.threshold for one in calibration.thresholds}
    for signal in SIGNALS:
        if signal in thresholds:
            binding = calibration.binding
            return NoiseNormThreshold(
                thresholds[signal], binding["steps"], tuple(binding["latent_shape"]), url, signal
            )
    raise UserError(
        f"{url}: has no threshold for noise_norm_low or noise_norm_first (of flow-matching models "
        "velocity_norm_mid), which mitigation needs; calibrate on a scan with one of them (the "
        "standard profile has the first or the last)"
    )


def guided_noise_norm(
    rows: PromptRows, sample_RCHW: Tensor, timestep: Any, scheduler: Any
) -> Tensor:
    """Return ‖ε_c − ε_∅‖₂, or ‖v_c − v_∅‖₂ of flow matching, per row (N,), from the denoiser's
    output for both halves of the batch.

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
    if is_flow_matching(scheduler):
        return norm_N
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return norm_N
    if kind != "v_prediction":
        raise UserError(f"mitigation: a threshold does not support prediction type {kind}")
    # ε = √ᾱ v + √(1−ᾱ) x with the same x in both halves, so it cancels in the difference.
    return norm_N * scheduler.alphas_cumprod[round(float(timestep))].item() ** 0.5


def measure_noise_norm(
    threshold: NoiseNormThreshold,
    rows: PromptRows,
    sample_RCHW: Tensor,
    timestep: Any,
    scheduler: Any,
    at_timestep: Callable[[float], Tensor],
) -> Tensor:
    """Return the norm (N,) that a threshold is compared with, on the CPU.

    ``sample_RCHW``, ``timestep``: of the generation's first forward. ``at_timestep``: runs that
    forward at another timestep, if the threshold's signal is measured there.
    """
    now = float(timestep.flatten()[0] if isinstance(timestep, Tensor) else timestep)
    threshold.check(round(now), sample_RCHW.shape[1:], scheduler)
    other = threshold.other_timestep(scheduler)
    if other is not None:
        sample_RCHW, now = at_timestep(other), other
    return guided_noise_norm(rows, sample_RCHW, now, scheduler).cpu()


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
