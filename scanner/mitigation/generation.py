"""What mitigation knows of the running generation, and the record of what it changed."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scanner.mitigation.prompt_hook import PromptRows


class MitigationRecord:
    """What was changed in the last generation.

    ``flagged_N``: which rows were mitigated (None: all); ``noise_norm_N``: the norms that they were
    flagged by. ``extra_forwards``: forwards of the denoiser, of all rows or of half, beyond those
    that the pipeline runs by itself, since the context was entered.
    """

    def __init__(self) -> None:
        self.flagged_N: Tensor | None = None
        self.noise_norm_N: Tensor | None = None
        self.extra_forwards = 0


@dataclass
class Generation:
    """A running generation. ``step``: counts from 0; ``steps``: number of forwards of the schedule.

    ``guidance``: the pipeline's scale. ``flagged_N``: rows to mitigate (None: all). ``state``: of
    the method.
    """

    rows: PromptRows
    record: MitigationRecord
    step: int = -1
    steps: int = 0
    guidance: float = 1.0
    flagged_N: Tensor | None = None
    state: dict[str, Any] = field(default_factory=dict)

    def mix(self, new_N: Tensor, old_N: Tensor) -> Tensor:
        """Return the new values of flagged rows, and the old ones of the others."""
        if self.flagged_N is None:
            return new_N
        shape = (-1, *[1] * (new_N.ndim - 1))
        return torch.where(self.flagged_N.to(new_N.device).view(shape), new_N, old_N)
