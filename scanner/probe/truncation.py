"""A denoiser that shares another's weights but ends after one of its attentions to the text."""

from collections.abc import Sequence

from diffusers import Lumina2Transformer2DModel, ZImageTransformer2DModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.transformers.auraflow_transformer_2d import AuraFlowSingleTransformerBlock
from diffusers.models.transformers.sana_transformer import SanaTransformerBlock
from diffusers.models.transformers.transformer_chroma import ChromaSingleTransformerBlock
from diffusers.models.transformers.transformer_cogview4 import CogView4TransformerBlock
from diffusers.models.transformers.transformer_lumina2 import Lumina2TransformerBlock
from diffusers.models.transformers.transformer_z_image import ZImageTransformerBlock
from torch import Tensor, nn

from scanner.probe.lean import LeanTransformer, end_with

_BLOCKS = (
    *("transformer_blocks", "joint_transformer_blocks", "single_transformer_blocks"),
    "layers",
)
"""A transformer's lists of blocks, in run order."""
_AFTER_ATTENTION = (
    *("norm2", "norm2_context", "img_norm2", "txt_norm2"),
    *("attn2", "ff", "ff_context", "img_mlp", "txt_mlp"),
    *("attention_norm2", "ffn_norm1", "ffn_norm2", "feed_forward"),
)
"""Parts of blocks that run after their attention to the text, or beside it on the image alone."""
_RETURN_FIRST = (
    *(BasicTransformerBlock, SanaTransformerBlock),
    *(Lumina2TransformerBlock, ZImageTransformerBlock),
)
"""Blocks that take the image's or all tokens first, and return only these."""
_ONE_STREAM = (ChromaSingleTransformerBlock, AuraFlowSingleTransformerBlock)
"""Blocks that take and return the text's tokens and the image's together."""


class _PassThrough(nn.Module):
    """Replaces a module whose result is unused."""

    def forward(self, hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        return hidden_states


class _FirstChannels(nn.Module):
    """Replaces a projection whose result is unused, for its shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        return x[..., :1].expand(*x.shape[:-1], self.channels)


class _SkippedJoint(nn.Module):
    """Replaces a block of two streams that does not run."""

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
    ) -> tuple[Tensor, Tensor]:
        return encoder_hidden_states, hidden_states


class _SkippedPair(nn.Module):
    """Replaces a block of two streams that does not run, and that returns the image's first."""

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: object
    ) -> tuple[Tensor, Tensor]:
        return hidden_states, encoder_hidden_states


class _SkippedStream(nn.Module):
    """Replaces a block of one stream that does not run."""

    def forward(self, hidden_states: Tensor, **_: object) -> Tensor:
        return hidden_states


def share_weights(module: nn.Module) -> nn.Module:
    """Return a copy of a module tree over the same parameters, without its hooks.

    A ``forward`` set on a module instance (as accelerate and diffusers do) counts as a hook.
    Submodules and attention processors can be replaced in the copy without changing the original.
    """
    twin: nn.Module = object.__new__(type(module))
    vars(twin).update(vars(module))
    for name in ("forward", "_diffusers_hook"):
        vars(twin).pop(name, None)
    for name, value in vars(module).items():
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")):
            vars(twin)[name] = type(value)()
    vars(twin)["_modules"] = {
        name: child and share_weights(child) for name, child in module._modules.items()
    }
    return twin


def truncate(unet: nn.Module, layer: str) -> None:
    """Truncate a U-Net in place after the cross-attention ``layer`` (a module name).

    Everything before it is unchanged; the U-Net's output becomes meaningless.
    """
    path = layer.split(".")
    in_mid = path[0] == "mid_block"
    block_name = "mid_block" if in_mid else ".".join(path[:2])
    block = unet.get_submodule(block_name)
    attention, transformer = int(path[path.index("attentions") + 1]), int(path[-2])
    _cut_block(block, attention, ends_in_resnet=in_mid)
    last = block.attentions[attention]
    last.transformer_blocks = last.transformer_blocks[: transformer + 1]
    last.set_submodule("proj_out", _PassThrough())
    if isinstance(last, LeanTransformer):
        end_with(last)
    else:
        for part in ("norm3", "ff"):
            last.transformer_blocks[transformer].set_submodule(part, _PassThrough())
    unused: dict[str, nn.Module | None] = {"conv_norm_out": None, "conv_out": _PassThrough()}
    if path[0] == "down_blocks":
        unet.down_blocks = unet.down_blocks[: int(path[1]) + 1]
        unused["mid_block"] = None
    unet.up_blocks = unet.up_blocks[: int(path[1]) + 1 if path[0] == "up_blocks" else 0]
    for name, stand_in in unused.items():
        setattr(unet, name, stand_in)


def truncate_transformer(transformer: nn.Module, layer: str) -> None:
    """Truncate a diffusion transformer in place after the attention ``layer`` (a module name).

    Everything before it is unchanged; the output has its shape, and becomes meaningless.
    """
    name, number = layer.split(".")[:2]
    last = transformer.get_submodule(f"{name}.{number}")
    for part in _AFTER_ATTENTION:
        unused = getattr(last, part, None)
        if unused is not None and f"{name}.{number}.{part}" != layer:
            setattr(last, part, _PassThrough())
    if hasattr(last, "proj_mlp"):  # one projection of the attention's and the MLP's channels
        last.proj_mlp = _FirstChannels(0)
        last.proj_out = _PassThrough()
    ran = True
    for blocks in _BLOCKS:
        for index, block in enumerate(getattr(transformer, blocks, ())):
            if not ran:
                getattr(transformer, blocks)[index] = _skipped(block)
            ran = ran and block is not last
    _end(transformer)


def _end(transformer: nn.Module) -> None:
    """Replace what follows a transformer's blocks."""
    if isinstance(transformer, Lumina2Transformer2DModel):
        transformer.norm_out = _FirstChannels(transformer.norm_out.linear_2.out_features)
    elif isinstance(transformer, ZImageTransformer2DModel):
        final = transformer.all_final_layer
        for name, layer in final.items():
            final[name] = _FirstChannels(layer.linear.out_features)
    else:
        transformer.set_submodule("norm_out", _PassThrough())
        transformer.proj_out = _FirstChannels(transformer.proj_out.out_features)


def _skipped(block: nn.Module) -> nn.Module:
    """Return what replaces a block that does not run: it returns the tokens that it is given."""
    if isinstance(block, _ONE_STREAM):
        return _SkippedStream()
    if isinstance(block, CogView4TransformerBlock):
        return _SkippedPair()
    return _PassThrough() if isinstance(block, _RETURN_FIRST) else _SkippedJoint()


def _cut_block(block: nn.Module, attention: int, ends_in_resnet: bool) -> None:
    """Keep a block's attentions up to and including this one, and the resnets before them."""
    block.attentions = block.attentions[: attention + 1]
    resnets: Sequence[nn.Module] = list(block.resnets[: attention + 1])
    if ends_in_resnet:  # the mid block runs one after each attention
        resnets = [*resnets, _PassThrough()]
    block.resnets = nn.ModuleList(resnets)
    for name in ("downsamplers", "upsamplers"):
        if getattr(block, name, None) is not None:
            setattr(block, name, None)
