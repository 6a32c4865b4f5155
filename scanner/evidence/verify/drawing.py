"""Draw pictures from captions with the stock pipeline, and see what its first step predicts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from scanner.evidence.verify.mitigated import Mitigation
from scanner.models import ModelSpec


@dataclass(frozen=True)
class Recipe:
    """How images are generated: together with the captions, all that they depend on."""

    model: ModelSpec
    weights: str
    seeds: int
    steps: int
    guidance: float
    height: int | None
    width: int | None
    mitigation: Mitigation | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as verification.json has it, whose hash names the verification."""
        model = self.model
        record = asdict(self) | {
            "model": model.name,
            "revision": model.revision,
            "model_options": {
                "model_config": model.config,
                "lora": model.lora,
                "lora_scale": model.lora_scale,
            },
            "dtype": model.dtype,
        }
        if self.mitigation is None:
            # A plain verification keeps the name that it had before mitigation existed.
            del record["mitigation"]
        return record


@torch.inference_mode()
def draw(pipe: Any, wanted: Sequence[tuple[str, int]], recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) in [0, 1] of captions and seeds, and the first step's differences.

    A picture starts from the noise that scores start from (signals.md, x_s): it depends on
    caption, seed and recipe alone. The differences ε_c − ε_∅ (N, C, h, w) are up to a factor
    that all share; the pipeline's own first forward gives them.
    """
    first: list[Tensor] = []

    def look(unet: Any, arguments: Any, output: Any) -> None:
        if not first:
            first.append(output[0].float().cpu())

    handle = pipe.unet.register_forward_hook(look)
    try:
        made = pipe(
            [caption for caption, _ in wanted],
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance,
            latents=_noise(pipe, [seed for _, seed in wanted], recipe),
            height=recipe.height,
            width=recipe.width,
            output_type="pt",
        )
    finally:
        handle.remove()
    without, with_caption = first[0].chunk(2)
    return made.images.float().cpu(), with_caption - without


def _noise(pipe: Any, seeds: list[int], recipe: Recipe) -> Tensor:
    """x_s of each seed, drawn in float32 on the CPU whatever the model's precision and device."""
    size, channels = pipe.unet.config.sample_size, pipe.unet.config.in_channels
    own = (size, size) if isinstance(size, int) else tuple(size)
    height = recipe.height // pipe.vae_scale_factor if recipe.height else own[0]
    width = recipe.width // pipe.vae_scale_factor if recipe.width else own[1]
    drawn = [
        torch.randn((1, channels, height, width), generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return torch.cat(drawn).to(pipe.unet.dtype)
