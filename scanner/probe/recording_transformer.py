"""An instrumented diffusion transformer that returns its attention and runs only needed blocks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scanner.probe.attention_record import AttentionRecord
from scanner.probe.joint_attention import JointAttend
from scanner.probe.prefix import Prefix, replay_prefix
from scanner.probe.truncation import share_weights, truncate_transformer
from scanner.probe.watching import record_attention

Run = Callable[[nn.Module, Tensor, Tensor, Tensor, dict[str, Tensor]], Tensor]
"""``run`` of :class:`~scanner.models.DiffusionModel`."""


class RecordingTransformer(nn.Module):
    """A copy of a diffusion transformer, over the same weights, that records attention.

    As :class:`~scanner.probe.recording_unet.RecordingUNet`: ``depth`` layers run, the last of them
    only up to its attention; None runs the whole transformer. ``run``: the family's forward.
    ``equal_tail``: how many of the last text positions are equal for every caption, such as zeros
    in place of T5's. Text has no position embedding in Stable Diffusion 3, so they stay equal in
    every block, and one stands for all; not on CUDA, whose flash kernel takes no bias, and where
    images have far more tokens.

    Shapes: B captions, N layers that run, L text positions, C channels.
    """

    x_1CHW: Tensor
    timestep: Tensor

    def __init__(
        self,
        transformer: nn.Module,
        layers: list[str],
        run: Run,
        depth: int | None = None,
        attend: JointAttend | None = None,
        equal_tail: int = 0,
    ) -> None:
        super().__init__()
        self.original = (transformer,)  # not a submodule
        self.transformer, self.depth, self.run = share_weights(transformer), depth, run
        names = layers[:depth]
        self.record = AttentionRecord(len(names))
        self.repeats = 1 if transformer.device.type == "cuda" else max(equal_tail, 1)
        last = None if depth is None else len(names) - 1
        record_attention(
            self.transformer,
            names,
            self.record,
            attend=attend,
            last=last,
            repeats=self.repeats,
        )
        if last is not None:
            truncate_transformer(self.transformer, names[last])
        self.register_buffer("x_1CHW", None, persistent=False)
        self.register_buffer("timestep", None, persistent=False)

    @property
    def copy(self) -> nn.Module:
        """The instrumented denoiser."""
        return self.transformer

    def load(self, x_1CHW: Tensor, timestep: float, prefix: Prefix) -> None:
        """Set the latent, the timestep and the recorded prefix for the following forwards."""
        original = self.original[0]
        if self.x_1CHW is None:
            self.x_1CHW = x_1CHW.to(original.device, original.dtype).clone()
            self.timestep = torch.full((1,), float(timestep), device=self.x_1CHW.device)
        else:
            self.x_1CHW.copy_(x_1CHW)
            self.timestep.fill_(timestep)
        replay_prefix(self.transformer, prefix)

    def forward(self, hidden_BLC: Tensor, added: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        """Return the transformer's output (None if truncated) and ā on the text (N, B, L)."""
        x_BCHW = self.x_1CHW.expand(len(hidden_BLC), -1, -1, -1)
        hidden_BLC = hidden_BLC[:, : hidden_BLC.shape[1] - self.repeats + 1]
        output_BCHW = self.run(self.transformer, x_BCHW, self.timestep, hidden_BLC, added)
        return (output_BCHW if self.depth is None else None), self._attention()

    def _attention(self) -> Tensor:
        """Return ā of the last forward, with a column for each of the equal positions."""
        abar_NBL = self.record.take()
        tail_NBL = abar_NBL[..., -1:].expand(-1, -1, self.repeats - 1)
        return abar_NBL if self.repeats == 1 else torch.cat([abar_NBL, tail_NBL], -1)
