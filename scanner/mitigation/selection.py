"""Which captions of a generation look memorized, by its own first step."""

from typing import Any

from torch import Tensor

from scanner.errors import UserError
from scanner.mitigation.captions import Rows
from scanner.signals.noise import noise_norm


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
