"""The signals that compare predictions from different initial noises."""

from collections.abc import Callable

import pyarrow as pa
from torch import Tensor

from scanner.models.traits import Trait
from scanner.run.schema import column
from scanner.scoring.attention_signals import LEVEL_TRAITS, where
from scanner.scoring.observation import Observation, PairSignal, Signal, required
from scanner.scoring.schedule import Needs
from scanner.signals.noise_level import FIRST, NoiseLevel
from scanner.signals.seed_agreement import denoised_pattern, ms_ssim, ssim


def _agreement(
    name: str, compare: Callable[[Tensor, Tensor], Tensor], described: str, side: Trait
) -> Callable[[NoiseLevel], Signal]:
    """Return what makes a signal of seed agreement for a noise level."""

    def at(level: NoiseLevel) -> Signal:
        def pattern(observation: Observation) -> Tensor:
            forward = observation.at(level)
            return denoised_pattern(required(forward.conditional), forward.x_1CHW)

        traits: set[Trait] = {"two_seeds", side, *LEVEL_TRAITS.get(level, ())}
        return PairSignal(
            column(
                name if level == FIRST else f"{name}_{level}",
                pa.float32(),
                f"{described} of the predicted noise minus the initial noise {where(level)}, mean "
                "over all pairs of seeds; of flow-matching models, with the velocity in place of "
                "the predicted noise",
                source="Hintersdorf et al. 2024 (NeurIPS)",
            ),
            Needs(conditional=frozenset({level}), traits=frozenset(traits)),
            pattern,
            memorized=1,
            level=level,
            compare=compare,
        )

    return at


SEEDS = {
    "seed_agreement": _agreement(
        "seed_agreement", ms_ssim, "structural similarity at three scales (MS-SSIM)", "side_44"
    ),
    "seed_agreement_small": _agreement(
        "seed_agreement_small",
        ssim,
        "structural similarity at one scale (SSIM with windows of 7), for small latents,",
        "side_7",
    ),
}
