"""Lean parts of a U-Net equal the stock ones, and replace only those without options."""

from pathlib import Path

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from scanner.models import load_model
from scanner.probe import RecordingUNet
from scanner.probe.lean import LeanResnet, LeanTransformer, SelfAttention, make_lean
from tests.random_pipelines import KINDS


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _resnet(**options: object) -> ResnetBlock2D:
    return ResnetBlock2D(in_channels=8, temb_channels=16, groups=4, **options).eval()


def _transformer(**options: object) -> Transformer2DModel:
    return Transformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=8,
        cross_attention_dim=12,
        norm_num_groups=4,
        num_layers=2,
        **options,
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize("out", [8, 24])
def test_a_lean_resnet_equals_the_stock_one_for_each_time(out: int) -> None:
    stock = _resnet(out_channels=out)
    lean, x = LeanResnet(stock), torch.randn(3, 8, 6, 5)
    for _ in range(2):
        time = torch.randn(1, 16)
        expected = stock(x, time)
        assert torch.allclose(lean(x, time.expand(3, -1)), expected, atol=1e-6)
    for _ in range(2):
        time = torch.randn(1, 16)
        lean.set_time(stock.time_emb_proj(stock.nonlinearity(time)))
        assert torch.allclose(lean(x, torch.zeros(3, 16)), stock(x, time), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("linear", [False, True])
def test_a_lean_transformer_equals_the_stock_one(linear: bool) -> None:
    stock = _transformer(use_linear_projection=linear)
    x, text = torch.randn(3, 8, 6, 5), torch.randn(3, 7, 12)
    expected = stock(x, encoder_hidden_states=text, return_dict=False)[0]
    lean = nn.Sequential(stock)
    make_lean(lean)
    assert isinstance(lean[0], LeanTransformer)
    assert all(
        isinstance(block.attn1.processor, SelfAttention) for block in stock.transformer_blocks
    )
    assert torch.allclose(lean[0](x, encoder_hidden_states=text)[0], expected, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_lean_transformer_keeps_the_layout(linear: bool, layout: torch.memory_format) -> None:
    lean = LeanTransformer(_transformer(use_linear_projection=linear).to(memory_format=layout))
    x = torch.randn(3, 8, 6, 5).contiguous(memory_format=layout)
    (output,) = lean(x, encoder_hidden_states=torch.randn(3, 7, 12))
    assert output.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    "stock",
    [
        _resnet(output_scale_factor=2.0),
        _resnet(time_embedding_norm="scale_shift"),
        _resnet(down=True),
        _transformer(only_cross_attention=True),
        _transformer(norm_type="ada_norm", num_embeds_ada_norm=10),
    ],
)
def test_modules_with_options_stay_as_they_are(stock: nn.Module) -> None:
    unet = nn.Sequential(stock)
    make_lean(unet)
    assert unet[0] is stock


def test_attention_with_options_stays_as_it_is() -> None:
    block = BasicTransformerBlock(8, 2, 4, cross_attention_dim=12)
    block.attn1 = Attention(8, heads=2, dim_head=4, rescale_output_factor=2.0)
    make_lean(block)
    assert isinstance(block.attn1.processor, AttnProcessor2_0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [4, None])
def test_a_recording_unet_is_lean_throughout(
    random_models: dict[str, Path], kind: str, depth: int | None
) -> None:
    model = load_model(str(random_models[kind]))
    modules = list(RecordingUNet(model.unet, model.layers, depth).unet.modules())
    assert not [one for one in modules if isinstance(one, ResnetBlock2D | Transformer2DModel)]
    assert [one for one in model.unet.modules() if isinstance(one, Transformer2DModel)]
