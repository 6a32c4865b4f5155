"""What is changed in cross-attention, as arithmetic on masks and keys.

Shapes: N rows that have a caption, R rows of a forward (N, or 2N under guidance: the rows without
a caption first, as diffusers has them), L text positions, D channels of all heads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionEdit:
    """The change that one batch of captions gets, the same in every layer that is changed.

    bias_NL: added to the logits of the rows with a caption; −inf hides a position. bias_empty_NL:
    the same for the rows without one. key: what becomes of the keys (N, L, D) of the rows with a
    caption; what it is given may be shorter than L where hidden positions were cut off. rows: N.
    """

    rows: int
    bias_NL: Tensor | None = None
    bias_empty_NL: Tensor | None = None
    key: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class ForwardEdit:
    """An edit made ready for the R rows of a forward.

    length: how many text positions are left (those after them are hidden in every row, and so are
    not computed at all). mask_R1L: what else is added to the logits, for these positions.
    key, rows: as the edit has them. key_N: of which rows with a caption the keys are changed, None
    for all.
    """

    length: int | None
    mask_R1L: Tensor | None
    key: Callable[[Tensor], Tensor] | None
    rows: int
    key_N: Tensor | None


def prepare(
    edit: AttentionEdit, guided: bool, flagged_N: Tensor | None, like: Tensor
) -> ForwardEdit:
    """For a forward on ``like``'s device and type; ``flagged_N``: which rows it is for, or all."""
    parts = [edit.bias_empty_NL, edit.bias_NL] if guided else [edit.bias_NL]
    length, mask = None, None
    shape = next((part.shape for part in parts if part is not None), None)
    if shape is not None:
        biases = [torch.zeros(shape) if part is None else part.float() for part in parts]
        if flagged_N is not None:
            biases = [torch.where(flagged_N[:, None], part, 0.0) for part in biases]
        bias_RL = torch.cat(biases)
        seen = (~torch.isneginf(bias_RL)).any(0).nonzero()
        length = int(seen.max()) + 1
        if bias_RL[:, :length].any():
            mask = bias_RL[:, None, :length].to(like.device, like.dtype)
    key_N = None if flagged_N is None or bool(flagged_N.all()) else flagged_N.to(like.device)
    return ForwardEdit(length, mask, edit.key, edit.rows, key_N)


def change_keys(ready: ForwardEdit, key_RLD: Tensor) -> Tensor:
    """The keys of the rows that are edited, changed; the others untouched, to the last bit."""
    assert ready.key is not None
    key_NLD = key_RLD[-ready.rows :]
    changed_NLD = ready.key(key_NLD)
    if ready.key_N is not None:
        changed_NLD = torch.where(ready.key_N[:, None, None], changed_NLD, key_NLD)
    return torch.cat([key_RLD[: -ready.rows], changed_NLD])


def padding_bias(n_N: Tensor, length: int) -> Tensor:
    """−inf at the positions after each caption's end token, 0 elsewhere: (N, L)."""
    bias_NL = torch.zeros(len(n_N), length)
    return bias_NL.masked_fill(torch.arange(length) >= n_N.cpu()[:, None], float("-inf"))


def scale_beginning(key_NLD: Tensor, factor: float) -> Tensor:
    """The beginning token's key times ``factor``, and so its logit, exactly."""
    return torch.cat([key_NLD[:, :1] * factor, key_NLD[:, 1:]], dim=1)
