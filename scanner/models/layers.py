"""The layers of a denoiser in which the image attends to the text, whatever its family."""

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    ChromaTransformer2DModel,
    CogView4Transformer2DModel,
    FluxTransformer2DModel,
    Lumina2Transformer2DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)

from scanner.errors import UserError
from scanner.models.unet_model import cross_attention_layers

_ATTENTION = {
    SD3Transformer2DModel: ("transformer_blocks.{}.attn",),
    PixArtTransformer2DModel: ("transformer_blocks.{}.attn2",),
    SanaTransformer2DModel: ("transformer_blocks.{}.attn2",),
    FluxTransformer2DModel: ("transformer_blocks.{}.attn", "single_transformer_blocks.{}.attn"),
    ChromaTransformer2DModel: ("transformer_blocks.{}.attn", "single_transformer_blocks.{}.attn"),
    QwenImageTransformer2DModel: ("transformer_blocks.{}.attn",),
    CogView4Transformer2DModel: ("transformer_blocks.{}.attn1",),
    Lumina2Transformer2DModel: ("layers.{}.attn",),
    ZImageTransformer2DModel: ("layers.{}.attention",),
    AuraFlowTransformer2DModel: (
        "joint_transformer_blocks.{}.attn",
        "single_transformer_blocks.{}.attn",
    ),
}
"""The attention modules of a transformer's blocks, by their number, in run order."""


def refuse_only_scanned(denoiser: type[torch.nn.Module], what: str) -> None:
    """Raise UserError for denoisers that are scored, but that ``what`` does not support yet."""
    if not issubclass(denoiser, UNet2DConditionModel | SD3Transformer2DModel):
        raise UserError(
            f"{what}: a {denoiser.__name__} is not supported; use Stable Diffusion 1, 2, 3 or XL "
            "(other models can be scanned, their samples scored, and their runs ranked, queried, "
            "curated and reported)"
        )


def attention_layers(denoiser: torch.nn.Module) -> list[str]:
    """Return the names of the attention modules in execution order; [] for other denoisers."""
    names = []
    for pattern in next((_ATTENTION[k] for k in _ATTENTION if isinstance(denoiser, k)), ()):
        blocks = denoiser.get_submodule(pattern.split(".")[0])
        names += [pattern.format(number) for number in range(len(blocks))]
    if not names and hasattr(denoiser, "down_blocks"):
        return cross_attention_layers(denoiser)
    return names
