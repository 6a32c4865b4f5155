"""Small pipelines of the real classes, with random weights."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from scanner.testbed.files import MODEL

KINDS = ("sd1", "sd2", "sdxl")
LAYERS = {"sd1": 16, "sd2": 16, "sdxl": 28}


def make_random_pipeline(kind: str) -> DiffusionPipeline:
    """A pipeline of a family: its real classes and layer order, small, with random weights."""
    torch.manual_seed(0)
    return _make_xl() if kind == "sdxl" else _make_sd(kind)


def _make_sd(kind: str) -> StableDiffusionPipeline:
    tokenizer = clip_tokenizer("!" if kind == "sd2" else None)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32, 32),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=32,
        attention_head_dim=2 if kind == "sd1" else [2, 4, 4, 4],
        use_linear_projection=kind == "sd2",
        norm_num_groups=8,
    )
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    options = {**noise, "set_alpha_to_one": False, "steps_offset": 1}
    if kind == "sd1":
        scheduler = PNDMScheduler(**options, skip_prk_steps=True)
    else:
        scheduler = DDIMScheduler(**options, clip_sample=False, prediction_type="v_prediction")
    return StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(
            clip_config(tokenizer, 32, "quick_gelu" if kind == "sd1" else "gelu")
        ),
        tokenizer=tokenizer,
        unet=_sharpened(unet),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _make_xl() -> StableDiffusionXLPipeline:
    """SDXL's blocks with 1, 2 and 3 transformer blocks an attention (1, 2 and 10 in SDXL)."""
    tokenizer, second = clip_tokenizer(), clip_tokenizer("!")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3),
        cross_attention_dim=32 + 48,
        attention_head_dim=[2, 2, 4],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
        norm_num_groups=8,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(clip_config(tokenizer, 32, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(
            clip_config(second, 48, "gelu", projection_dim=24)
        ),
        tokenizer=tokenizer,
        tokenizer_2=second,
        unet=_sharpened(unet),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    )


def clip_tokenizer(padding: str | None = None) -> CLIPTokenizer:
    tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
    if padding:
        tokenizer.pad_token = padding
    return tokenizer


def clip_config(tokenizer: CLIPTokenizer, width: int, act: str, **options: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        hidden_act=act,
        **options,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )


@torch.no_grad()
def _sharpened(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """At random start, attention is almost uniform; larger weights make it differ by position."""
    for name, weight in unet.named_parameters():
        if "attn2.to_q" in name or "attn2.to_k" in name:
            weight *= 4
    return unet
