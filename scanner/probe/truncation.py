"""A U-Net that shares another's weights but ends after one of its cross-attentions."""

from collections.abc import Sequence

from torch import Tensor, nn

from scanner.probe.lean import LeanTransformer, end_with


class _PassThrough(nn.Module):
    """Replaces a module whose result is unused."""

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        return x


def share_weights(module: nn.Module) -> nn.Module:
    """Return a copy of a module tree over the same parameters, without its hooks.

    A ``forward`` set on a module instance (as accelerate does) counts as a hook.
    Submodules and attention processors can be replaced in the copy without changing the original.
    """
    twin: nn.Module = object.__new__(type(module))
    vars(twin).update(vars(module))
    vars(twin).pop("forward", None)
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
