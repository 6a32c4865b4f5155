"""The part of a denoiser's forward that is independent of the caption: run once, then replayed.

From the same latent at the same timestep, everything before the first cross-attention is the same
for every caption: in Stable Diffusion 1 and 2 the first convolution, the first residual block, and
the norm, projection, self-attention and queries of the first transformer; if the first down block
has no attention (SDXL, whose pooled text enters the time embedding), only the first convolution;
in transformers the embedding of patches, of which pooled text leaves only that (Stable Diffusion 3,
FLUX.1), and without pooled text also what the first block computes of the image alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

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
    ZImageTransformer2DModel,
)
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from scanner.probe.lean import LeanResnet

Prefix = dict[str, Tensor]

_QKV = ("to_q", "to_k", "to_v")
_JOINT = tuple(f"transformer_blocks.0.attn.{part}" for part in _QKV)
_CROSS = tuple(f"transformer_blocks.0.{part}" for part in ("norm1", "attn1", "attn2.to_q"))
_OF_TRANSFORMERS: dict[type[nn.Module], tuple[str, ...]] = {
    SD3Transformer2DModel: ("pos_embed",),
    FluxTransformer2DModel: ("x_embedder",),
    ChromaTransformer2DModel: ("x_embedder", "distilled_guidance_layer", *_JOINT),
    QwenImageTransformer2DModel: ("img_in", *_JOINT),
    AuraFlowTransformer2DModel: (
        "pos_embed",
        *(f"joint_transformer_blocks.0.attn.{part}" for part in _QKV),
    ),
    CogView4Transformer2DModel: ("patch_embed.proj",),
    Lumina2Transformer2DModel: ("x_embedder", "noise_refiner.0", "noise_refiner.1"),
    ZImageTransformer2DModel: ("t_embedder", "all_x_embedder.2-1"),
    PixArtTransformer2DModel: ("pos_embed", *_CROSS),
    SanaTransformer2DModel: ("patch_embed", *_CROSS),
}


class _Replay(nn.Module):
    """Replaces a module: returns its recorded output, expanded to the batch.

    On CUDA a convolution's output is copied, not only expanded: an expanded tensor has no
    channels-last strides, so the result of a concatenation with it would lose them too.
    """

    output_1X: Tensor

    def __init__(self, output_1X: Tensor) -> None:
        super().__init__()
        self.register_buffer("output_1X", output_1X.clone(), persistent=False)
        self.copies = output_1X.is_cuda and output_1X.ndim == 4

    def forward(self, x_BX: Tensor, *_: object, **__: object) -> Tensor:
        output_BX = self.output_1X.expand(len(x_BX), *self.output_1X.shape[1:])
        return output_BX.contiguous(memory_format=torch.channels_last) if self.copies else output_BX


def caption_free_modules(unet: nn.Module) -> list[str]:
    """Return the modules whose outputs no caption changes, at one latent and timestep."""
    for kind, modules in _OF_TRANSFORMERS.items():
        if isinstance(unet, kind):
            return list(modules)
    block = "down_blocks.0"
    names = ["conv_in"]
    if getattr(unet.get_submodule(block), "has_cross_attention", False) and not _pooled(unet):
        names += [
            f"{block}.resnets.0",
            f"{block}.attentions.0.norm",
            f"{block}.attentions.0.proj_in",
        ]
        transformer = f"{block}.attentions.0.transformer_blocks.0"
        names += [f"{transformer}.{part}" for part in ("norm1", "attn1", "norm2", "attn2.to_q")]
    return names


def _pooled(unet: nn.Module) -> bool:
    """Return whether the pooled text also enters through the time embedding."""
    return getattr(unet.config, "addition_embed_type", None) is not None


@torch.no_grad()
def time_outputs(unet: nn.Module, timestep_1: Tensor) -> Prefix:
    """Return outputs of the modules that depend only on the timestep; {} if the text enters too."""
    if _pooled(unet) or unet.class_embedding is not None or unet.time_embed_act is not None:
        return {}
    wave_1X = unet.time_proj(timestep_1).to(unet.dtype)
    embedding_1X = unet.time_embedding(wave_1X)
    outputs = {"time_proj": wave_1X, "time_embedding": embedding_1X}
    for name, module in unet.named_modules():
        if isinstance(module, ResnetBlock2D) and module.time_emb_proj is not None:
            active_1X = module.nonlinearity(embedding_1X)
            outputs[f"{name}.time_emb_proj"] = module.time_emb_proj(active_1X)
    return outputs


@contextmanager
def record_prefix(unet: nn.Module) -> Iterator[Prefix]:
    """Record the outputs of the shared modules during a forward of one caption in this context."""
    prefix: Prefix = {}
    hooks = []
    for name in caption_free_modules(unet):

        def keep(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
            prefix[name] = output.detach()

        hooks.append(unet.get_submodule(name).register_forward_hook(keep))
    try:
        yield prefix
    finally:
        for hook in hooks:
            hook.remove()


def replay_prefix(unet: nn.Module, prefix: Prefix) -> None:
    """Replace the shared modules permanently by replays of a recorded forward.

    The latent and the timestep must be those of that forward. A second call replaces the outputs
    in place, so compiled code and CUDA graphs stay valid.
    """
    modules = dict(unet.named_modules())
    for name, output_1X in prefix.items():
        module = modules.get(name)
        if module is None:  # truncated, or part of a replaced module
            continue
        if name.endswith(".time_emb_proj"):
            resnet = modules[name.removesuffix(".time_emb_proj")]
            if isinstance(resnet, LeanResnet):
                resnet.set_time(output_1X)
                continue
            resnet.skip_time_act = True
        if isinstance(module, _Replay):
            module.output_1X.copy_(output_1X)
        else:
            unet.set_submodule(name, _Replay(output_1X))
