from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from scanner.errors import UserError
from scanner.models import ModelSpec, find_model, load_decoder
from tests.original_layout import save_as_single_file


def _original_name(name: str, blocks: int) -> str:
    """A VAE weight's name in the original code base."""
    for ours, original in (
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"),
        ("group_norm", "norm"),
        ("to_out.0", "proj_out"),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        ("down_blocks", "down"),
        ("resnets", "block"),
        ("to_", ""),
    ):
        name = name.replace(ours, original)
    for number in range(blocks):
        name = name.replace(f"up_blocks.{number}.", f"up.{blocks - 1 - number}.")
    return f"first_stage_model.{name}"


def _original(vae: AutoencoderKL) -> dict[str, Tensor]:
    blocks = len(vae.config.block_out_channels)
    return {
        _original_name(name, blocks): weight[..., None, None]
        if ".to_" in name and weight.ndim == 2
        else weight
        for name, weight in vae.state_dict().items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_images_equal_the_stock_vae_s_even_from_a_single_file(
    random_models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    pipe = DiffusionPipeline.from_pretrained(random_models[kind])
    x = torch.randn(2, 4, 8, 8, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = pipe.image_processor.postprocess(
            pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample, output_type="pt"
        )
    found = load_decoder(find_model(str(random_models[kind])), "cpu")(x)
    assert torch.allclose(found, expected, atol=1e-5)

    whole = save_as_single_file(pipe, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="no VAE"):
        load_decoder(find_model(ModelSpec(str(whole), config=str(random_models[kind]))), "cpu")
    save_file({**load_file(whole), **_original(pipe.vae)}, whole)
    files = find_model(ModelSpec(str(whole), config=str(random_models[kind])))
    assert torch.allclose(load_decoder(files, "cpu")(x), expected, atol=1e-5)
