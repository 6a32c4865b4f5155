"""Small pipelines of Stable Diffusion 3's real classes, with random weights."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5TokenizerFast

from tests.random_pipelines import clip_config, clip_tokenizer

KINDS = ("sd3", "sd3-t5", "sd35-t5")
"""Stable Diffusion 3 without and with T5; 3.5 medium, with T5: normalized queries and keys, and an
attention of the image alone in the first blocks."""
LAYERS = {"sd3": 5, "sd3-t5": 5, "sd35-t5": 6}
PATCH = {"sd3": 1, "sd3-t5": 2, "sd35-t5": 2}
CLIP_WIDTHS = (32, 48)
POOLED_WIDTHS = (16, 24)
JOINT_WIDTH = 96
SPREAD = 0.3
"""Of weights that would otherwise be zero or one."""


def make_random_transformer(kind: str) -> StableDiffusion3Pipeline:
    """A pipeline of a kind: its real classes, small, with random weights."""
    torch.manual_seed(0)
    tokenizer, second = clip_tokenizer(), clip_tokenizer("!")
    encoders = [
        CLIPTextModelWithProjection(clip_config(of, width, act, projection_dim=pooled))
        for of, width, act, pooled in zip(
            (tokenizer, second), CLIP_WIDTHS, ("quick_gelu", "gelu"), POOLED_WIDTHS, strict=True
        )
    ]
    third = make_t5_tokenizer() if kind.endswith("t5") else None
    return StableDiffusion3Pipeline(
        transformer=_transformer(kind),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=small_vae(16),
        text_encoder=encoders[0],
        tokenizer=tokenizer,
        text_encoder_2=encoders[1],
        tokenizer_2=second,
        text_encoder_3=third and small_t5(third),
        tokenizer_3=third,
    )


def make_t5_tokenizer() -> T5TokenizerFast:
    """T5's kind of tokenizer, with letters and a few words."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -8.0) for code in range(33, 0x180) if chr(code).isprintable()]
    pieces += [(f"▁{word}", -4.0) for word in ("a", "the", "red", "apple", "word", "on")]
    return T5TokenizerFast(vocab=pieces, extra_ids=4, model_max_length=512)


def small_t5(tokenizer: T5TokenizerFast) -> T5EncoderModel:
    encoder = T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer) + 3,  # padded, as T5's own
            d_model=JOINT_WIDTH,
            d_kv=12,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )
    return encoder.eval()  # a fresh one drops out at random


def _transformer(kind: str) -> SD3Transformer2DModel:
    options: dict[str, Any] = {}
    if kind.startswith("sd35"):
        options = {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1, 2)}
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=PATCH[kind],
        in_channels=16,
        out_channels=16,
        num_layers=LAYERS[kind],
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=JOINT_WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=sum(POOLED_WIDTHS),
        pos_embed_max_size=12,
        **options,
    )
    return sharpened(transformer)


def small_vae(channels: int, shift: float | None = 0.1) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        shift_factor=shift,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


@torch.no_grad()
def sharpened(transformer: Any) -> Any:
    """Random modulations and norms, which start as zeros and ones and would hide errors, and
    attention that differs by position."""
    for name, weight in transformer.named_parameters():
        if ".linear." in name and "norm" in name:
            weight.normal_(std=SPREAD)
        elif ".attn" in name and ".norm_" in name:
            weight.copy_(1 + SPREAD * torch.randn_like(weight))
        elif "pad_token" in name:
            weight.normal_()
        elif "refiner" in name or "attention" in name or "ffn" in name:
            if "norm" in name and weight.ndim == 1:
                weight.copy_(1 + SPREAD * torch.randn_like(weight))
            elif any(part in name for part in ("to_q", "to_k")):
                weight *= 4
        elif any(part in name for part in ("to_q", "to_k", "add_q_proj", "add_k_proj")):
            weight *= 4
    return transformer
