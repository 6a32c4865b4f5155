"""Generate images from captions with the stock pipeline, and record its first prediction."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from scanner.evidence.verify.mitigated import Mitigation
from scanner.mitigation.adversary.options import AdversaryOptions
from scanner.models import ModelSpec
from scanner.models.pipeline import denoiser_of, replaced


@dataclass(frozen=True)
class Recipe:
    """Settings that, with caption and seed, determine an image."""

    model: ModelSpec
    weights: str
    seeds: int
    steps: int
    guidance: float
    height: int | None
    width: int | None
    mitigation: Mitigation | None = None
    adversary: AdversaryOptions | None = None

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
        else:
            record["mitigation"] = self.mitigation.options
        if self.adversary is None:
            del record["adversary"]
        return record


@torch.inference_mode()
def draw(pipe: Any, wanted: Sequence[tuple[str, int]], recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Generate images (N, 3, H, W) in [0, 1] for (caption, seed) pairs, and return them with the
    first step's differences.

    An image starts from the same noise as the scores, so it depends only on caption, seed and
    recipe. The differences ε_c − ε_∅ (N, C, h, w), or v_c − v_∅ of flow-matching models, come from
    the first forward, up to a common factor.
    """
    denoiser = denoiser_of(pipe)
    forward, first = denoiser.forward, list[Tensor]()

    def record_first(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        if not first:
            first.append(output[0].detach().float().cpu())
        return output

    # Not a hook, which would see what a mitigation method makes of the prediction.
    with replaced(denoiser, "forward", record_first):
        result = pipe(
            [caption for caption, _ in wanted],
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance,
            latents=_noise(pipe, [seed for _, seed in wanted], recipe),
            height=recipe.height,
            width=recipe.width,
            output_type="pt",
        )
    unconditional, conditional = first[0].chunk(2)
    return result.images.float().cpu(), conditional - unconditional


def _noise(pipe: Any, seeds: list[int], recipe: Recipe) -> Tensor:
    """Draw each seed's initial noise in float32 on the CPU, for any dtype and device."""
    denoiser = denoiser_of(pipe)
    size, channels = denoiser.config.sample_size, denoiser.config.in_channels
    default = (size, size) if isinstance(size, int) else tuple(size)
    height = recipe.height // pipe.vae_scale_factor if recipe.height else default[0]
    width = recipe.width // pipe.vae_scale_factor if recipe.width else default[1]
    noise = [
        torch.randn((1, channels, height, width), generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return torch.cat(noise).to(denoiser.dtype)
