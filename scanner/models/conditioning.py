"""What a U-Net is told of captions."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Of B captions: text hidden states (B, L, C), and what else a family adds, by name, (B, …)."""

    hidden_BLC: Tensor
    added: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hidden_BLC)

    def expand(self, batch: int) -> "Conditioning":
        """The one caption of this batch, repeated without copying."""
        return Conditioning(
            self.hidden_BLC.expand(batch, -1, -1),
            {name: value.expand(batch, *value.shape[1:]) for name, value in self.added.items()},
        )
