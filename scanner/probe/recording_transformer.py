"""An instrumented diffusion transformer that returns its attention and runs only needed blocks."""

import torch
from torch import Tensor, nn

from scanner.probe.attention_record import AttentionRecord
from scanner.probe.joint_attention import JointAttend
from scanner.probe.prefix import Prefix, replay_prefix
from scanner.probe.truncation import share_weights
from scanner.probe.watching import record_attention


class RecordingTransformer(nn.Module):
    """A copy of Stable Diffusion 3's transformer, over the same weights, that records attention.

    As :class:`~scanner.probe.recording_unet.RecordingUNet`: ``depth`` blocks run, the last of them
    only up to its attention; None runs the whole transformer. ``equal_tail``: how many of the last
    text positions are equal for every caption, such as zeros in place of T5's. Text has no position
    embedding, so they stay equal in every block, and one stands for all; not on CUDA, whose fused
    kernels take no bias, and where images have far more tokens.

    Shapes: B captions, N layers that run, L text positions, C channels.
    """

    x_1CHW: Tensor
    timestep: Tensor

    def __init__(
        self,
        transformer: nn.Module,
        layers: list[str],
        depth: int | None = None,
        attend: JointAttend | None = None,
        equal_tail: int = 0,
    ) -> None:
        super().__init__()
        self.original = (transformer,)  # not a submodule
        self.transformer, self.depth = share_weights(transformer), depth
        names = layers[:depth]
        self.record = AttentionRecord(len(names))
        on_cuda = next(transformer.parameters()).device.type == "cuda"
        self.repeats = 1 if on_cuda else max(equal_tail, 1)
        last = None if depth is None else len(names) - 1
        record_attention(
            self.transformer,
            names,
            self.record,
            attend=attend,
            last=last,
            repeats=self.repeats,
        )
        if depth is not None:
            blocks = list(self.transformer.transformer_blocks)[:depth]
            blocks[-1] = _AttentionOnly(blocks[-1])
            self.transformer.transformer_blocks = nn.ModuleList(blocks)
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
        if self.depth is not None:
            self._run_blocks(x_BCHW, hidden_BLC, added)
            return None, self._attention()
        output_BCHW = self.transformer(
            x_BCHW, hidden_BLC, timestep=self.timestep, return_dict=False, **added
        )[0]
        return output_BCHW, self._attention()

    def _attention(self) -> Tensor:
        """Return ā of the last forward, with a column for each of the equal positions."""
        abar_NBL = self.record.take()
        tail_NBL = abar_NBL[..., -1:].expand(-1, -1, self.repeats - 1)
        return abar_NBL if self.repeats == 1 else torch.cat([abar_NBL, tail_NBL], -1)

    def _run_blocks(self, x_BCHW: Tensor, hidden_BLC: Tensor, added: dict[str, Tensor]) -> None:
        """Run the transformer's own forward as far as its blocks."""
        run = self.transformer
        image = run.pos_embed(x_BCHW).contiguous()
        emb = run.time_text_embed(self.timestep, added["pooled_projections"])
        text = run.context_embedder(hidden_BLC)
        for block in run.transformer_blocks:
            text, image = block(hidden_states=image, encoder_hidden_states=text, temb=emb)


class _AttentionOnly(nn.Module):
    """A block that runs up to its attention, and passes image and text on unchanged."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm1_context, self.attn = block.norm1, block.norm1_context, block.attn
        self.is_last = block.context_pre_only

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        **_: object,
    ) -> tuple[Tensor, Tensor]:
        image = self.norm1(hidden_states, emb=temb)[0]
        if self.is_last:  # the model's last block does not update the text
            text = self.norm1_context(encoder_hidden_states, temb)
        else:
            text = self.norm1_context(encoder_hidden_states, emb=temb)[0]
        self.attn(hidden_states=image, encoder_hidden_states=text)
        return encoder_hidden_states, hidden_states
