"""Edit the image's attention to the text where image and text attend in one attention.

Only the image's queries see the edit: they are attended with edited text keys, and the text's own
queries with the original ones. So the text evolves through the layers as it was trained to, as it
does with cross-attention, where it does not attend to anything within the denoiser. The rows of an
attention are independent, so two calls of the fused kernel do the work of one.

Shapes: R rows, P image and L text positions, C channels, H heads, D channels per head.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from scanner.mitigation.edit import ForwardEdit, edit_keys
from scanner.probe.joint_processors import queries_and_keys, values


class Running(Protocol):
    """The state of a generation that is edited."""

    @property
    def active(self) -> bool: ...

    def forward_edit(self, hidden_RLC: object) -> ForwardEdit: ...


class EditingJointAttnProcessor:
    """A diffusers attention processor for Stable Diffusion 3's joint attention that edits the
    image's attention to the text.

    stock: the module's own processor, which runs when nothing is edited.
    """

    def __init__(self, running: Running, stock: Any) -> None:
        self.running = running
        self.stock = stock

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        image_RPC, text_RLC = hidden_states, encoder_hidden_states
        if not self.running.active:
            output: tuple[Tensor, Tensor] = self.stock(attn, image_RPC, text_RLC, attention_mask)
            return output
        edit = self.running.forward_edit(text_RLC)
        return finish_joint(attn, attend(attn, image_RPC, text_RLC, edit))


def finish_joint(attn: Any, attended: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return what a processor returns: the outputs of the image, projected, and of the text."""
    return attn.to_out[1](attn.to_out[0](attended[0])), attended[1]


def attend(
    attn: Any, image_RPC: Tensor, text_RLC: Tensor, edit: ForwardEdit
) -> tuple[Tensor, Tensor]:
    """Return the attention's output for the image, with the edit, and for the text."""
    mask_R11S = None
    if edit.mask_R1L is not None:
        mask_R11S = pad(edit.mask_R1L[:, None], (image_RPC.shape[1], 0))

    def change(_: Tensor, text_keys: Tensor) -> Tensor:
        return _edit_heads(edit, text_keys) if edit.key else text_keys

    return attend_with(attn, image_RPC, text_RLC, change, edit.length, mask_R11S)


def attend_with(
    attn: Any,
    image_RPC: Tensor,
    text_RLC: Tensor,
    change_keys: Callable[[Tensor, Tensor], Tensor],
    length: int | None = None,
    mask_R11S: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the attention's output for the image, with changed text keys, and for the text.

    ``change_keys``: maps the image's queries (R, H, P, D) and the text's keys (R, H, L, D) to new
    text keys. ``length``: text positions that the image attends to (None: all). ``mask_R11S``:
    added to the logits of the image's queries.
    """
    positions = image_RPC.shape[1]
    q_RHSD, k_RHSD = queries_and_keys(attn, image_RPC, text_RLC)
    v_RHSD = values(attn, image_RPC, text_RLC)
    end = k_RHSD.shape[2] if length is None else positions + length
    image_keys, text_keys = k_RHSD[:, :, :positions], k_RHSD[:, :, positions:end]
    q_RHPD = q_RHSD[:, :, :positions]
    image_RHPD = scaled_dot_product_attention(
        q_RHPD,
        torch.cat([image_keys, change_keys(q_RHPD, text_keys)], 2),
        v_RHSD[:, :, :end],
        attn_mask=mask_R11S,
    )
    if attn.context_pre_only:  # the model's last block does not use it
        return _merge_heads(image_RHPD), text_RLC
    text_RHLD = scaled_dot_product_attention(q_RHSD[:, :, positions:], k_RHSD, v_RHSD)
    return _merge_heads(image_RHPD), attn.to_add_out(_merge_heads(text_RHLD))


def _edit_heads(edit: ForwardEdit, key_RHLD: Tensor) -> Tensor:
    """Edit keys after their norm, if any, so that a factor on a key is one on its logits."""
    edited_RLC = edit_keys(edit, _merge_heads(key_RHLD))
    return edited_RLC.unflatten(-1, (key_RHLD.shape[1], -1)).transpose(1, 2)


def _merge_heads(x_RHND: Tensor) -> Tensor:
    return x_RHND.transpose(1, 2).flatten(2)


def install(attn: nn.Module, running: Running) -> None:
    """Replace a module's processor by an editing one."""
    attn.set_processor(EditingJointAttnProcessor(running, attn.processor))
