"""An initial latent where the guidance is smooth (Han et al., NeurIPS 2025, batch-wise variant)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.mitigation.forward import Forward
from scanner.mitigation.generation import Generation
from scanner.mitigation.methods.method import Method, count, norm_ratio, not_negative, positive
from scanner.mitigation.methods.unguided import without_caption
from scanner.signals.noise import difference_norm


@dataclass(frozen=True)
class Sharpness(Method):
    """Move the initial latent x against the growth of Δε = ε_c − ε_∅ near it, ``rounds`` times:
    x ← x − γ [Δε(x + ρ Δε/‖Δε‖) − Δε(x)], then denoise the first steps without the caption.

    ``step_size``: γ. ``radius``: ρ, for latents of 4 x 64 x 64; scaled with the norm of others.
    ``unguided``: share of the steps without the caption, rounded up (5 of 50 in the released code,
    https://github.com/hygnhan/init_noise_diffusion_memorization).
    """

    radius: float = 50.0
    step_size: float = 0.7
    rounds: float = 2
    unguided: float = 0.1

    changes_guidance = True

    def check(self) -> None:
        positive("radius", self.radius)
        positive("step_size", self.step_size)
        count("rounds", self.rounds)
        not_negative("unguided", self.unguided)

    def start(self, forward: Forward, generation: Generation) -> Tensor:
        x_NCHW = forward.latents_NCHW.float()
        radius = self.radius * norm_ratio(x_NCHW)
        for _ in range(int(self.rounds)):
            here = forward.with_latents(x_NCHW).difference()
            norm_N111 = difference_norm(here).view(-1, 1, 1, 1)
            # The empty caption has no difference, and so no direction to move along.
            direction = torch.where(norm_N111 > 0, here / norm_N111, 0.0)
            there = forward.with_latents(x_NCHW + radius * direction).difference()
            x_NCHW = x_NCHW - self.step_size * (there - here)
        return x_NCHW

    def combine(self, forward: Forward, output_RCHW: Tensor, generation: Generation) -> Tensor:
        if generation.step >= math.ceil(self.unguided * generation.steps):
            return output_RCHW
        return without_caption(output_RCHW, generation)
