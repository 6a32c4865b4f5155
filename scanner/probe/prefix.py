"""The part of a U-Net's forward that no caption changes, run once and replayed for a batch.

From the same latent at the same timestep, everything before the first cross-attention is the same
for every caption: in Stable Diffusion 1 and 2 the first convolution, the first residual block, and
the norm, projection and self-attention of the first transformer; where the first down block has no
attention (SDXL, whose pooled text enters the time embedding) the first convolution only.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Prefix = dict[str, Tensor]


class _Replay(nn.Module):
    """Stands for a module: returns its recorded output, expanded to the batch (never copied)."""

    def __init__(self, output_1X: Tensor, batch: int) -> None:
        super().__init__()
        self.output_1X, self.batch = output_1X, batch

    def forward(self, *_: object, **__: object) -> Tensor:
        return self.output_1X.expand(self.batch, *self.output_1X.shape[1:])


def caption_free_modules(unet: nn.Module) -> list[str]:
    """Names of the modules whose outputs no caption changes, for one latent and timestep."""
    block = "down_blocks.0"
    names = ["conv_in"]
    if getattr(unet.get_submodule(block), "has_cross_attention", False) and not _pooled(unet):
        names += [
            f"{block}.resnets.0",
            f"{block}.attentions.0.norm",
            f"{block}.attentions.0.proj_in",
        ]
        transformer = f"{block}.attentions.0.transformer_blocks.0"
        names += [f"{transformer}.norm1", f"{transformer}.attn1"]
    return names


def _pooled(unet: nn.Module) -> bool:
    """Whether the caption also enters by the time embedding."""
    return getattr(unet.config, "addition_embed_type", None) is not None


@contextmanager
def record_prefix(unet: nn.Module) -> Iterator[Prefix]:
    """Within this context a forward of one caption leaves the outputs of the shared modules."""
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


@contextmanager
def replay_prefix(unet: nn.Module, prefix: Prefix, batch: int) -> Iterator[None]:
    """Within this context the shared modules are not computed, for a batch of that many captions.

    The latent and the timestep must be those of the recorded forward. On leaving, also by an
    exception, the U-Net has its own modules back.
    """
    before = {name: unet.get_submodule(name) for name in prefix}
    try:
        for name, output in prefix.items():
            _put(unet, name, _Replay(output, batch))
        yield
    finally:
        for name, module in before.items():
            _put(unet, name, module)


def _put(unet: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(unet.get_submodule(parent) if parent else unet, child, module)
