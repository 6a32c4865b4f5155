"""Guidance that waits for the end of the attraction basin (Jain et al., CVPR 2025)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.mitigation.forward import Forward
from scanner.mitigation.generation import Generation
from scanner.mitigation.methods.method import Method, not_negative
from scanner.mitigation.methods.unguided import without_caption
from scanner.signals.noise import noise_norm


@dataclass(frozen=True)
class AttractionBasin(Method):
    """Guide with the scale ``before`` until ‖ε_c − ε_∅‖ has its first local minimum over the steps,
    then with the pipeline's; each image by its own norm.

    An image whose norm has no local minimum is never guided by the pipeline's scale. The paper's
    ``before`` is 0; the released script for the dynamic transition point
    (https://github.com/SonyResearch/mitigating_memorization) uses 1.
    """

    before: float = 0.0

    changes_guidance = True

    def check(self) -> None:
        not_negative("before", self.before)

    def combine(self, forward: Forward, output_RCHW: Tensor, generation: Generation) -> Tensor:
        unconditional, conditional = output_RCHW.chunk(2)
        norm_N = noise_norm(conditional, unconditional) * forward.factor
        norms = generation.state.setdefault("norms", [])
        left_N = generation.state.get("left", torch.zeros_like(norm_N, dtype=torch.bool))
        if len(norms) == 2:
            left_N = left_N | ((norm_N > norms[1]) & (norms[0] > norms[1]))
        generation.state["left"] = left_N
        generation.state["norms"] = [*norms[-1:], norm_N]
        return without_caption(output_RCHW, generation, self.before, ~left_N)
