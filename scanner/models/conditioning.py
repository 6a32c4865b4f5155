"""Text conditioning of a denoiser."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Text hidden states (B, L, C) of B captions, and a family's further inputs (B, …) by name."""

    hidden_BLC: Tensor
    added: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hidden_BLC)

    def copy(self) -> "Conditioning":
        """Return a copy that shares no memory."""
        added = {name: value.clone() for name, value in self.added.items()}
        return Conditioning(self.hidden_BLC.clone(), added)

    def expand(self, batch: int) -> "Conditioning":
        """Return a batch of one repeated ``batch`` times, without copying."""
        return Conditioning(
            self.hidden_BLC.expand(batch, -1, -1),
            {name: value.expand(batch, *value.shape[1:]) for name, value in self.added.items()},
        )
