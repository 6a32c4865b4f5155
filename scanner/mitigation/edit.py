"""Edits of the image's attention to the text, as arithmetic on masks and keys.

Shapes: N rows with a caption; R rows of a forward (N, or 2N under guidance, with the rows without
a caption first, as in diffusers); L text positions; D channels of all heads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionEdit:
    """An edit for one batch of captions, the same in every edited layer.

    ``rows``: N. ``bias_NL``: added to the logits of rows with a caption; −inf hides a position.
    ``bias_empty_NL``: the same for rows without a caption. ``key``: maps the keys (N, L, D) of rows
    with a caption to new ones; its input may be shorter than L, since hidden positions at the end
    are cut off.
    """

    rows: int
    bias_NL: Tensor | None = None
    bias_empty_NL: Tensor | None = None
    key: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class ForwardEdit:
    """An edit prepared for the R rows of a forward.

    ``length``: number of text positions to compute; those after them are hidden in every row.
    ``mask_R1L``: added to the logits of these positions. ``key``, ``rows``: as in the edit.
    ``key_N``: which rows with a caption get edited keys; None for all.
    """

    length: int | None
    mask_R1L: Tensor | None
    key: Callable[[Tensor], Tensor] | None
    rows: int
    key_N: Tensor | None


def prepare_edit(
    edit: AttentionEdit, guided: bool, flagged_N: Tensor | None, like: Tensor
) -> ForwardEdit:
    """Prepare an edit for a forward with the device and dtype of ``like``. ``flagged_N``: the rows
    to edit; None for all."""
    parts = [edit.bias_empty_NL, edit.bias_NL] if guided else [edit.bias_NL]
    length, mask = None, None
    shape = next((part.shape for part in parts if part is not None), None)
    if shape is not None:
        biases = [torch.zeros(shape) if part is None else part.float() for part in parts]
        if flagged_N is not None:
            biases = [torch.where(flagged_N[:, None], part, 0.0) for part in biases]
        bias_RL = torch.cat(biases)
        visible = (~torch.isneginf(bias_RL)).any(0).nonzero()
        length = int(visible.max()) + 1
        if bias_RL[:, :length].any():
            mask = bias_RL[:, None, :length].to(like.device, like.dtype)
    key_N = None if flagged_N is None or bool(flagged_N.all()) else flagged_N.to(like.device)
    return ForwardEdit(length, mask, edit.key, edit.rows, key_N)


def edit_keys(edit: ForwardEdit, key_RLD: Tensor) -> Tensor:
    """Edit the keys of the flagged rows; keys of other rows stay identical to the last bit."""
    assert edit.key is not None
    key_NLD = key_RLD[-edit.rows :]
    edited_NLD = edit.key(key_NLD)
    if edit.key_N is not None:
        edited_NLD = torch.where(edit.key_N[:, None, None], edited_NLD, key_NLD)
    return torch.cat([key_RLD[: -edit.rows], edited_NLD])


def padding_bias(n_N: Tensor, length: int) -> Tensor:
    """Return −inf at the positions after each caption's EOS token, 0 elsewhere: (N, L)."""
    bias_NL = torch.zeros(len(n_N), length)
    return bias_NL.masked_fill(torch.arange(length) >= n_N.cpu()[:, None], float("-inf"))


def scale_bos(key_NLD: Tensor, factor: float) -> Tensor:
    """Multiply the BOS token's key, and so exactly its logit, by ``factor``."""
    return torch.cat([key_NLD[:, :1] * factor, key_NLD[:, 1:]], dim=1)
