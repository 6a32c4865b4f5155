"""Print which cards fit full-size models, and estimated hours per million captions, as a table.

Hours assume a share of the card's published peak; memory is counted on the meta device.

Example: python -m jobs.development.cards --models "SD 1.4"
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.console.terminal import command, show
from scanner.errors import UsageError
from scanner.models import DiffusionModel
from scanner.models.loading import META
from scanner.models.random.random_weights import (
    flux_dev,
    stable_diffusion_3,
    stable_diffusion_14,
    stable_diffusion_xl,
)
from scanner.scan.device_fit import card_memory
from scanner.scan.gpu_estimate import CARDS, gpu_estimate
from scanner.scoring import Scorer
from scanner.scoring.cost import cost
from scanner.scoring.fit import fit
from scanner.scoring.memory import MemoryEstimate, estimate_memory
from scanner.scoring.spec import ProfileName

MODELS: dict[str, Callable[[], DiffusionModel]] = {
    "SD 1.4": lambda: stable_diffusion_14("float16", META),
    "SDXL": lambda: stable_diffusion_xl("float16"),
    "SD3 medium": lambda: stable_diffusion_3("float16"),
    "FLUX.1-dev": lambda: flux_dev("bfloat16"),
}
CAPTIONS = 1_000_000


@dataclass(frozen=True)
class CardsConfig:
    """What to estimate, at the model's own size."""

    profile: ProfileName = "standard"
    """Profile to scan with."""
    models: tuple[str, ...] = tuple(MODELS)
    """Models, by their names in the table; counting one takes up to a minute."""


@dataclass(frozen=True)
class Counted:
    """A model's cost per caption, and its memory."""

    gflop: float
    memory: MemoryEstimate


def main(arguments: Sequence[str] | None = None) -> int:
    return command(CardsConfig, "jobs.development.cards", __doc__, _cards, arguments)


def _cards(config: CardsConfig) -> int:
    unknown = [name for name in config.models if name not in MODELS]
    if unknown:
        raise UsageError(f"--models {unknown[0]}: one of {', '.join(MODELS)}")
    counted = {name: count(MODELS[name](), config.profile) for name in config.models}
    show(f"| card | {' | '.join(counted)} |\n|{'---|' * (1 + len(counted))}")
    for card, about in CARDS.items():
        cells = [cell(card, model) for model in counted.values()]
        show(f"| `{card}`, {about.memory_gib} GiB | {' | '.join(cells)} |")
    return 0


def count(model: DiffusionModel, profile: str) -> Counted:
    """Count the cost of a caption and the memory of scoring, on the meta device."""
    scorer = Scorer(model, profile)
    costs = cost(scorer, device="cuda")
    return Counted(costs.per_caption + costs.text_encoder, estimate_memory(scorer, "cuda"))


def cell(card: str, model: Counted) -> str:
    """Return hours per million captions and the largest batch that fits."""
    fitted = fit(model.memory, card_memory(card))
    if fitted.refusal:
        return "does not fit"
    batch = f"batches of {fitted.largest_batch}"
    if fitted.offloads or fitted.offloads_denoiser:
        return f"slower: weights in host memory, {batch}"
    hours = gpu_estimate(card, CAPTIONS, model.gflop, None, None)
    return f"{hours.hours_low:.2g} to {hours.hours_high:.2g} h, {batch}"


if __name__ == "__main__":
    sys.exit(main())
