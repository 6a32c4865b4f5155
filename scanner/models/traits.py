"""What signals can require of a model, importable without torch."""

from typing import Literal

Trait = Literal["ddpm", "flow_matching", "joint_attention"]
UNET: frozenset[Trait] = frozenset({"ddpm"})
"""The traits of a model with a U-Net."""
