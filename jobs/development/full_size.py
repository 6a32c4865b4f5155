"""Count FLOPs and memory of full-size models on the meta device, and print them as a table.

Example: python -m jobs.development.full_size --models Z-Image
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.console.terminal import command, show
from scanner.errors import UsageError
from scanner.memory import readable_bytes
from scanner.models import DiffusionModel
from scanner.models.random.full_size_transformers import (
    aura_flow,
    cogview4,
    lumina_2,
    pixart_alpha,
    stable_diffusion_35_large,
    stable_diffusion_35_medium,
    z_image,
)
from scanner.models.random.random_weights import (
    chroma,
    flux_dev,
    pixart_sigma,
    qwen_image,
    sana,
    stable_diffusion_3,
)
from scanner.scan.device_fit import card_memory
from scanner.scan.gpu_estimate import CARDS
from scanner.scoring import Scorer
from scanner.scoring.cost import cost
from scanner.scoring.fit import Fit, fit
from scanner.scoring.memory import estimate_memory

MODELS: dict[str, Callable[[str], DiffusionModel]] = {
    "PixArt-α": pixart_alpha,
    "PixArt-Σ": pixart_sigma,
    "Sana 1.6B": sana,
    "Lumina-Image 2.0": lumina_2,
    "SD3 medium": stable_diffusion_3,
    "SD3.5 medium": stable_diffusion_35_medium,
    "SD3.5 large": stable_diffusion_35_large,
    "Z-Image": z_image,
    "CogView4": cogview4,
    "AuraFlow": aura_flow,
    "FLUX.1-dev": flux_dev,
    "Chroma": chroma,
    "Qwen-Image": qwen_image,
}
SHOWN = ("t4", "l4", "v100", "a100")
COLUMNS = (
    *("model", "profile", "TFLOP per caption", "of text encoders", "denoiser", "text encoders"),
    *("activations per caption", *(f"{card} {CARDS[card].memory_gib} GiB" for card in SHOWN)),
)


@dataclass(frozen=True)
class FullSizeConfig:
    """What to count, at 1024 px."""

    profiles: tuple[str, ...] = ("triage", "standard")
    """Profiles, a row each per model."""
    models: tuple[str, ...] = tuple(MODELS)
    """Models, by their names in the table; counting one takes a minute or more."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(FullSizeConfig, "jobs.development.full_size", __doc__, _full_size, arguments)


def _full_size(config: FullSizeConfig) -> int:
    show(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    unknown = [name for name in config.models if name not in MODELS]
    if unknown:
        raise UsageError(f"--models {unknown[0]}: one of {', '.join(MODELS)}")
    for name in config.models:
        model = MODELS[name]("bfloat16")
        for profile in config.profiles:
            show(f"| {' | '.join([name, profile, *_cells(model, profile)])} |")
    return 0


def _cells(model: DiffusionModel, profile: str) -> list[str]:
    scorer = Scorer(model, profile)
    counted = cost(scorer, device="cuda")
    estimate = estimate_memory(scorer, "cuda")
    text = sum(estimate.weights[part] for part in estimate.text_encoders)
    return [
        f"{(counted.per_caption + counted.text_encoder) / 1e3:.1f}",
        f"{counted.text_share:.0%}",
        readable_bytes(sum(estimate.weights.values()) - text),
        readable_bytes(text),
        readable_bytes(estimate.denoising.per_caption),
        *(_batch(fit(estimate, card_memory(card), denoiser="device")) for card in SHOWN),
    ]


def _batch(fitted: Fit) -> str:
    if fitted.refusal:
        return "–"
    return f"{fitted.largest_batch}{' (offloaded)' * fitted.offloads}"


if __name__ == "__main__":
    sys.exit(main())
