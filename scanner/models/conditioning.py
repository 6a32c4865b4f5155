"""Text conditioning of a denoiser."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Text hidden states (B, L, C) of B captions, and a family's further inputs (B, …) by name."""

    hidden_BLC: Tensor
    added: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hidden_BLC)

    def __getitem__(self, part: slice) -> "Conditioning":
        return self._converted(lambda values: values[part])

    def copy(self) -> "Conditioning":
        """Return a copy that shares no memory."""
        return self._converted(Tensor.clone)

    def to(self, device: torch.device) -> "Conditioning":
        """The same on a device."""
        return self._converted(lambda values: values.to(device))

    def padded(self, rows: int) -> "Conditioning":
        """The batch with its last caption repeated."""
        numbers = torch.arange(rows).clamp(max=len(self) - 1)
        return self._converted(lambda values: values[numbers])

    def expand(self, batch: int) -> "Conditioning":
        """Return a batch of one repeated ``batch`` times, without copying."""
        return Conditioning(
            self.hidden_BLC.expand(batch, -1, -1),
            {name: value.expand(batch, *value.shape[1:]) for name, value in self.added.items()},
        )

    def _converted(self, convert: Callable[[Tensor], Tensor]) -> "Conditioning":
        added = {name: convert(value) for name, value in self.added.items()}
        return Conditioning(convert(self.hidden_BLC), added)
