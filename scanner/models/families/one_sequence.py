"""Run transformers whose blocks see the text and the image as one sequence.

The forwards of Lumina2Transformer2DModel and ZImageTransformer2DModel take each caption's text
without its padding, in loops over the batch that wait for the device. Here all captions of a batch
have the same padded length, the text's tokens come first, and padding is masked: the same modules,
in the same order, on the same numbers.

Shapes: B captions, L text and P image positions, S all of them, C channels.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def run_within_hook(
    run: Callable[..., Tensor], transformer: torch.nn.Module, *inputs: Any, **named: Any
) -> Tensor:
    """Return what ``run`` returns; an offloaded transformer's parts outside its blocks are on the
    device meanwhile. Their hook is on the transformer's own forward, which does not run here."""
    registry = getattr(transformer, "_diffusers_hook", None)
    hook = registry and registry.get_hook("group_offloading")
    if not hook:
        return run(transformer, *inputs, **named)
    hook.pre_forward(transformer)
    try:
        return run(transformer, *inputs, **named)
    finally:
        hook.post_forward(transformer, None)


def patches(x_BCHW: Tensor, side: int) -> Tensor:
    """Return latents as tokens of ``side`` × ``side`` pixels: (B, P, side² · C), channels last."""
    grid = x_BCHW.unflatten(2, (-1, side)).unflatten(4, (-1, side))  # B, C, h, s, w, s
    return grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatched(tokens_BPC: Tensor, height: int, side: int) -> Tensor:
    """Return the latents (B, C, H, W) of tokens with channels last; ``height``: H."""
    grid = tokens_BPC.unflatten(1, (height // side, -1)).unflatten(3, (side, side, -1))
    return grid.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def positions(
    first_text: int, length: int, first_image_B: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the three coordinates of each text token (L, 3) and image token (B, P, 3).

    Text counts up from ``first_text`` along the first axis; the image is at ``first_image_B``
    there, with its rows and columns along the others. ``grid``: its rows and columns.
    """
    device = first_image_B.device
    text_L3 = torch.zeros((length, 3), dtype=torch.long, device=device)
    text_L3[:, 0] = torch.arange(first_text, first_text + length, device=device)
    rows, columns = (torch.arange(size, device=device) for size in grid)
    image_BP3 = torch.stack(
        torch.broadcast_tensors(
            first_image_B[:, None], rows.repeat_interleave(len(columns)), columns.repeat(len(rows))
        ),
        -1,
    )
    return text_L3, image_BP3


def place_tokens(attentions: Iterable[Any], length: int, image: int) -> None:
    """Tell attention modules, for recording, which tokens are the text and which the image."""
    for attention in attentions:
        attention.placed = (slice(0, length), slice(length, length + image))
