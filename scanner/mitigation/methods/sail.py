"""An optimized initial latent (SAIL: Jeon et al., ICML 2025)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.mitigation.forward import Forward, differentiation
from scanner.mitigation.generation import Generation
from scanner.mitigation.methods.descent import descend
from scanner.mitigation.methods.method import Method, count, norm_ratio, not_negative, positive
from scanner.signals.noise import difference_norm


@dataclass(frozen=True)
class Sail(Method):
    """Minimize ‖Δε(x + Δε/‖Δε‖)‖ + λ‖x‖ over the initial latent x with Adam, for each image until
    it is at most ``target`` or for ``iterations`` steps. Δε = ε_c − ε_∅ at the first step.

    ``weight``: λ. ``target`` is for latents of 4 x 64 x 64, and scaled with the norm of others. The
    released code (https://github.com/Dongjae0324/sharpness_memorization_diffusion) uses λ 0.05 for
    Stable Diffusion 1 and 0.01 for 2, and draws other noise if the target is not reached; here the
    image keeps its noise, so that it depends on its seed only.
    """

    target: float = 8.2
    weight: float = 0.05
    learning_rate: float = 0.05
    iterations: float = 10

    def check(self) -> None:
        positive("target", self.target)
        not_negative("weight", self.weight)
        positive("learning_rate", self.learning_rate)
        count("iterations", self.iterations)

    def start(self, forward: Forward, generation: Generation) -> Tensor:
        target = self.target * norm_ratio(forward.latents_NCHW)
        with differentiation():
            forward = forward.differentiable()
            x_NCHW, generation.state["reached"] = descend(
                forward.latents_NCHW,
                lambda x: self._loss(forward, x),
                lambda x: torch.optim.Adam(x, lr=self.learning_rate),
                target,
                int(self.iterations),
            )
        return x_NCHW

    def _loss(self, forward: Forward, x_NCHW: Tensor) -> Tensor:
        here = forward.with_latents(x_NCHW).difference()
        norm_N = difference_norm(here)
        direction = here / norm_N.clamp(min=torch.finfo(norm_N.dtype).tiny).view(-1, 1, 1, 1)
        there = forward.with_latents(x_NCHW + direction).difference()
        return difference_norm(there) + self.weight * difference_norm(x_NCHW)
