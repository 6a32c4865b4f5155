"""Replace parts of a U-Net by equal ones that launch fewer kernels.

The stock modules divide by factors that are 1 in every supported model, copy between layouts, and
add the time embedding in a separate operation. Without compilation, each of these is a kernel
that reads and writes a whole activation. The parts here share the weights, and their names, with
the modules that they replace; a module with an option that they lack stays as it is.
"""

from typing import Any

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from scanner.probe.attention import extras


class LeanResnet(nn.Module):
    """A ResnetBlock2D whose time embedding is part of its first convolution's bias.

    :meth:`set_time` sets the embedding that all captions share. Without it, forward adds the
    embedding that it is given, as the stock module does.
    """

    bias_C: Tensor | None

    def __init__(self, stock: ResnetBlock2D) -> None:
        super().__init__()
        for name, child in stock.named_children():
            self.add_module(name, child)
        self.conv_shortcut = stock.conv_shortcut
        self.register_buffer("bias_C", None, persistent=False)

    def set_time(self, projected_1C: Tensor) -> None:
        """Set the projected time embedding; later calls change the bias in place."""
        bias_C = self.conv1.bias + projected_1C[0]
        if self.bias_C is None:
            self.bias_C = bias_C
        else:
            self.bias_C.copy_(bias_C)

    def forward(self, x_BCHW: Tensor, temb_BC: Tensor) -> Tensor:
        """Return what the stock module returns."""
        act, conv = self.nonlinearity, self.conv1
        hidden = act(self.norm1(x_BCHW))
        if self.bias_C is None:
            hidden = conv(hidden) + self.time_emb_proj(act(temb_BC))[:, :, None, None]
        else:
            hidden = nn.functional.conv2d(
                hidden, conv.weight, self.bias_C, conv.stride, conv.padding
            )
        hidden = self.conv2(act(self.norm2(hidden)))
        if self.conv_shortcut is not None:
            x_BCHW = self.conv_shortcut(x_BCHW)
        return x_BCHW + hidden


class LeanTransformer(nn.Module):
    """A Transformer2DModel on images that changes between grid and positions by views.

    is_last: the output is unused, so forward ends after the blocks.
    """

    def __init__(self, stock: Transformer2DModel) -> None:
        super().__init__()
        for name, child in stock.named_children():
            self.add_module(name, child)
        self.use_linear_projection = stock.use_linear_projection
        self.is_last = False

    def forward(self, x_BCHW: Tensor, encoder_hidden_states: Tensor, **_: object) -> tuple[Tensor]:
        """Return what the stock module returns with ``return_dict=False``."""
        hidden = self.norm(x_BCHW)
        if self.use_linear_projection:
            hidden = self.proj_in(_positions(hidden))
        else:
            hidden = _positions(self.proj_in(hidden))
        for block in self.transformer_blocks:
            hidden = block(hidden, encoder_hidden_states=encoder_hidden_states)
        if self.is_last:
            return (x_BCHW,)
        height = x_BCHW.shape[2]
        if self.use_linear_projection:
            hidden = _grid(self.proj_out(hidden), height)
        else:
            hidden = self.proj_out(_grid(hidden, height))
        # The sum takes the layout of its first operand. Channels-last activations with contiguous
        # weights make later modules slower on a CPU, and their group norms less accurate.
        return (x_BCHW + hidden,)


class LastBlock(nn.Module):
    """A BasicTransformerBlock that ends with its cross-attention, whose output is unused."""

    def __init__(self, stock: BasicTransformerBlock) -> None:
        super().__init__()
        for name in ("norm1", "attn1", "norm2", "attn2"):
            self.add_module(name, getattr(stock, name))

    def forward(self, hidden_BPC: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Return the input."""
        attended = self.attn1(self.norm1(hidden_BPC)) + hidden_BPC
        self.attn2(self.norm2(attended), encoder_hidden_states=encoder_hidden_states)
        return hidden_BPC


class SelfAttention:
    """A diffusers attention processor for plain self-attention."""

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return what AttnProcessor2_0 returns."""
        q, k, v = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        output_BHPD = nn.functional.scaled_dot_product_attention(q, k, v)
        return attn.to_out[0](output_BHPD.transpose(1, 2).flatten(2))


def make_lean(unet: nn.Module) -> None:
    """Replace the modules of a U-Net in evaluation mode in place, where they have no options."""
    for name, module in list(unet.named_modules()):
        if type(module) is ResnetBlock2D and _is_plain_resnet(module):
            unet.set_submodule(name, LeanResnet(module))
        elif type(module) is Transformer2DModel and _is_plain_transformer(module):
            unet.set_submodule(name, LeanTransformer(module))
    for name, module in unet.named_modules():
        if name.endswith(".attn1") and _is_plain_attention(module):
            module.set_processor(SelfAttention())


def end_with(transformer: LeanTransformer) -> None:
    """End a transformer in place with the cross-attention of its last block."""
    transformer.is_last = True
    last = transformer.transformer_blocks[-1]
    if isinstance(last, BasicTransformerBlock):
        transformer.transformer_blocks[-1] = LastBlock(last)


def _is_plain_resnet(resnet: ResnetBlock2D) -> bool:
    return (
        resnet.upsample is None
        and resnet.downsample is None
        and resnet.time_embedding_norm == "default"
        and resnet.time_emb_proj is not None
        and not resnet.skip_time_act
        and resnet.output_scale_factor == 1.0
        and type(resnet.conv1) is nn.Conv2d
        and resnet.conv1.bias is not None
    )


def _is_plain_transformer(transformer: Transformer2DModel) -> bool:
    return bool(transformer.is_input_continuous) and all(
        isinstance(block, BasicTransformerBlock)
        and block.norm_type == "layer_norm"
        and block.pos_embed is None
        and not block.only_cross_attention
        for block in transformer.transformer_blocks
    )


def _is_plain_attention(attn: nn.Module) -> bool:
    return type(attn.processor) is AttnProcessor2_0 and not extras(attn)


def _positions(x_BCHW: Tensor) -> Tensor:
    """Return (B, P, C); a view of a channels-last tensor."""
    return x_BCHW.permute(0, 2, 3, 1).flatten(1, 2)


def _grid(x_BPC: Tensor, height: int) -> Tensor:
    """Return (B, C, H, W), a channels-last view."""
    return x_BPC.unflatten(1, (height, -1)).permute(0, 3, 1, 2)
