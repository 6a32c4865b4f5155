"""What weighs the samples of the study's fine-tuning runs.

Shapes: B samples of a step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scanner.mitigation.finetune import LossWeights

GROUPS = ("repeated", "once")
"""How keys begin."""


def oracle(timesteps: Tensor, keys: Sequence[str], *_: object) -> Tensor:
    """Weigh 0 every copy of a repeated caption but the first, which costs what the best possible
    guard costs."""
    kept = [not key.startswith("repeated") or key.endswith(".0") for key in keys]
    return torch.tensor(kept, dtype=torch.float32, device=timesteps.device)


class CountedWeights:
    """The weights of a guard or of an oracle, or 1 without one, counted by kind of sample.

    ``total``: the sum of all weights so far.
    """

    def __init__(self, weights: LossWeights | None) -> None:
        self.weights, self.total = weights, 0.0
        self._recent: dict[str, list[float]] = {group: [] for group in GROUPS}

    def __call__(
        self, timesteps: Tensor, keys: Sequence[str], captions: Sequence[str], losses: Tensor
    ) -> Tensor:
        weight_B = torch.ones(len(keys), device=timesteps.device)
        if self.weights:
            weight_B = self.weights(timesteps, keys, captions, losses)
        self.total += float(weight_B.sum())
        for key, weight in zip(keys, weight_B.tolist(), strict=True):
            self._recent[key.split()[0]].append(weight)
        return weight_B

    def take_means(self) -> dict[str, float | None]:
        """Return the mean weight of each kind of sample since the last call; None without any."""
        means = {
            group: sum(values) / len(values) if values else None
            for group, values in self._recent.items()
        }
        self._recent = {group: [] for group in GROUPS}
        return means
