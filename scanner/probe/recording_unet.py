"""An instrumented U-Net that replays what captions share and returns its attention."""

import torch
from torch import Tensor, nn

from scanner.probe.attention import Attend, plain_attention
from scanner.probe.attention_record import AttentionRecord
from scanner.probe.lean import make_lean
from scanner.probe.prefix import Prefix, replay_prefix, time_outputs
from scanner.probe.truncation import share_weights, truncate
from scanner.probe.watching import record_attention

LAYOUT = torch.channels_last


class RecordingUNet(nn.Module):
    """A copy of a U-Net, over the same weights, that records its cross-attention.

    ``layers``: names of its cross-attention modules in run order. ``depth``: how many of them to
    run, stopping after the softmax of the last; None runs the whole U-Net. The original is not
    modified. :meth:`load` sets latent and timestep; a forward then takes only the text, has no
    Python side effects and can be compiled with ``fullgraph=True``.

    Shapes: B captions, N layers that run, L text positions, C channels.
    """

    x_1CHW: Tensor
    timestep: Tensor

    def __init__(
        self,
        unet: nn.Module,
        layers: list[str],
        depth: int | None = None,
        attend: Attend = plain_attention,
    ) -> None:
        super().__init__()
        self.original = (unet,)  # not a submodule
        self.unet, self.depth = share_weights(unet), depth
        make_lean(self.unet)
        names = layers[:depth]
        self.record = AttentionRecord(len(names))
        last = None if depth is None else len(names) - 1
        record_attention(self.unet, names, self.record, attend=attend, last=last)
        if last is not None:
            truncate(self.unet, names[last])
        if next(unet.parameters()).device.type == "cuda":
            # For compiled forwards, whose convolutions run on tensor cores; they were measured in
            # this layout only. It makes the uncompiled stock forward slower: on an H200, 306
            # against 340 captions/s. It also changes the layout of the original's shared weights.
            self.unet.to(memory_format=LAYOUT)
        self.register_buffer("x_1CHW", None, persistent=False)
        self.register_buffer("timestep", None, persistent=False)
        self._of_time: dict[float, Prefix] = {}

    @property
    def copy(self) -> nn.Module:
        """The instrumented denoiser."""
        return self.unet

    def load(self, x_1CHW: Tensor, timestep: float, prefix: Prefix) -> None:
        """Set the latent, the timestep and the recorded prefix for the following forwards."""
        original = self.original[0]
        if self.x_1CHW is None:
            x_1CHW = x_1CHW.to(original.device, original.dtype)
            self.x_1CHW = x_1CHW.clone()
            self.timestep = torch.full((1,), timestep, device=x_1CHW.device)
        else:
            self.x_1CHW.copy_(x_1CHW)
            self.timestep.fill_(timestep)
        if timestep not in self._of_time:
            self._of_time[timestep] = time_outputs(original, self.timestep)
        replay_prefix(self.unet, {**self._of_time[timestep], **prefix})

    def forward(
        self, hidden_BLC: Tensor, added: dict[str, Tensor] | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Return the U-Net's output (None if truncated) and ā (N, B, L)."""
        output_BCHW = self.unet(
            self.x_1CHW.expand(len(hidden_BLC), -1, -1, -1),
            self.timestep,
            hidden_BLC,
            added_cond_kwargs=added or None,
            return_dict=False,
        )[0]
        return (output_BCHW if self.depth is None else None), self.record.take()
