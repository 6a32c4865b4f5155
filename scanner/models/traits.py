"""What signals can require of a model, importable without torch."""

from typing import Literal

Trait = Literal["ddpm", "flow_matching", "joint_attention", "beginning_token", "end_token", "unet"]
UNET: frozenset[Trait] = frozenset({"ddpm", "beginning_token", "end_token", "unet"})
"""The traits of a model with a U-Net."""
