"""The attention that the recorded layers of a denoiser report."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class AttentionRecord:
    """The attention that the recorded layers reported during the last forward.

    abar_NBL: ā on the text in float32, layers in run order; with joint attention its sum is less
    than 1. maps: for the layers that keep one, by number, the attention (B, P) on one text position
    per caption, averaged over the heads. whole: for every layer the attention (B, P, L) averaged
    over the heads, only with ``keeps_whole``, since it is large. length: text positions of the last
    joint attention with two streams; one with a single stream has them as its first tokens.
    """

    layers: int
    maps: dict[int, Tensor] = field(default_factory=dict)
    position_B: Tensor | None = None
    whole: dict[int, Tensor] = field(default_factory=dict)
    keeps_whole: bool = False
    length: int = 0

    def __post_init__(self) -> None:
        self._abar: list[Tensor | None] = [None] * self.layers

    def keep(self, number: int, abar_BL: Tensor) -> None:
        """Store ā of one layer."""
        self._abar[number] = abar_BL

    @property
    def abar_NBL(self) -> Tensor:
        return torch.stack([abar for abar in self._abar if abar is not None])

    def take(self) -> Tensor:
        """Return ā (N, B, L), and forget it."""
        abar_NBL = self.abar_NBL
        self._abar = [None] * self.layers
        return abar_NBL
