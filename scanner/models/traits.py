"""What signals can require of a model and of a scorer's options, importable without torch."""

from typing import Literal

Trait = Literal[
    "ddpm",
    "flow_matching",
    "v_prediction",
    "joint_attention",
    "beginning_token",
    "end_token",
    "unet",
    "two_seeds",
    "two_steps",
    "side_7",
    "side_44",
]
"""Of options: at least two seeds, two steps, or a latent side of 7 or 44."""
UNET: frozenset[Trait] = frozenset({"ddpm", "beginning_token", "end_token", "unet"})
"""The traits of a model with a U-Net."""
JOINT_FAMILIES = frozenset(
    {"stable-diffusion-3", "flux", "chroma", "qwen-image"}
    | {"aura-flow", "cogview4", "lumina-2", "z-image"}
)
"""Names of the families with joint attention, as runs record them."""
