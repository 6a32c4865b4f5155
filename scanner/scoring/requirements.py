"""Check that a model and a scorer's options meet what signals require."""

from collections.abc import Sequence

from scanner.errors import UserError
from scanner.models.traits import Trait
from scanner.scoring.observation import Signal
from scanner.signals.seed_agreement import SIDE, SMALL_WINDOW

_WITHOUT: dict[Trait, str] = {
    "ddpm": "it is defined for the noise levels of a DDPM, and this is a flow-matching model",
    "flow_matching": "it is defined for flow matching (velocities, or σ = 0.5), and this is a DDPM",
    "v_prediction": "it is of v-predictions, and this model predicts the noise",
    "joint_attention": "in cross-attention, all of the image's attention is on the text",
    "beginning_token": "its text has no beginning token",
    "end_token": "its text has no end token",
    "unet": "it is published for U-Nets only",
    "two_seeds": "it compares initial noises; set --seeds to at least 2",
    "two_steps": "it compares the first two steps; set --steps to at least 2",
    "side_7": f"it needs latents of at least {SMALL_WINDOW} x {SMALL_WINDOW} pixels",
    "side_44": f"it compares three scales, which needs latents of at least {SIDE} x {SIDE} pixels "
    "(352 px images for Stable Diffusion); seed_agreement_small compares one scale",
}


def option_traits(seeds: int, steps: int, latent_shape: Sequence[int]) -> frozenset[Trait]:
    """Return what the options of a scorer offer to signals."""
    side = min(latent_shape[-2:])
    offered: dict[Trait, bool] = {
        "two_seeds": seeds > 1,
        "two_steps": steps > 1,
        "side_7": side >= SMALL_WINDOW,
        "side_44": side >= SIDE,
    }
    return frozenset(trait for trait, is_offered in offered.items() if is_offered)


def check_traits(signal: Signal, traits: frozenset[Trait], family: str) -> None:
    """Raise UserError if a model or the options lack what a signal requires."""
    for trait, why in _WITHOUT.items():
        if trait in signal.needs.traits - traits:
            raise UserError(
                f"signal {signal.name} cannot be measured on {family}: {why}; leave it out"
            )
