"""An optimized text embedding (Wen et al., ICLR 2024)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scanner.mitigation.forward import Forward, differentiation
from scanner.mitigation.generation import Generation
from scanner.mitigation.methods.descent import descend
from scanner.mitigation.methods.method import Method, count, norm_ratio, positive
from scanner.signals.noise import difference_norm


@dataclass(frozen=True)
class EmbeddingOptimization(Method):
    """Minimize ‖ε_c − ε_∅‖ at the first step over the caption's embedding with AdamW, for each
    image until it is at most ``target`` or for ``iterations`` steps; all steps of the generation
    then use that embedding.

    The BOS position stays as it is, as do pooled embeddings. ``target`` is for latents of
    4 x 64 x 64, and scaled with the norm of others. Code:
    https://github.com/YuxinWenRick/diffusion_memorization.
    """

    target: float = 3.0
    learning_rate: float = 0.05
    iterations: float = 10

    def check(self) -> None:
        positive("target", self.target)
        positive("learning_rate", self.learning_rate)
        count("iterations", self.iterations)

    def prepare(self, forward: Forward, generation: Generation) -> Forward:
        if generation.step == 0:
            generation.state["text"] = self._optimize(forward)
        text_NLD = generation.state["text"].to(forward.text_NLD.dtype)
        return forward.with_text(generation.mix(text_NLD, forward.text_NLD))

    def _optimize(self, forward: Forward) -> Tensor:
        target = self.target * norm_ratio(forward.latents_NCHW)
        with differentiation():
            forward = forward.differentiable()
            text_NLD, _ = descend(
                forward.text_NLD,
                lambda text: difference_norm(forward.with_text(text).difference()),
                lambda text: torch.optim.AdamW(text, lr=self.learning_rate),
                target,
                int(self.iterations),
                _keep_bos,
            )
            # AdamW's weight decay shrinks the BOS position, whose gradient is zero.
            text_NLD[:, 0] = forward.text_NLD[:, 0]
        return text_NLD


def _keep_bos(gradient_NLD: Tensor) -> None:
    gradient_NLD[:, 0] = 0
