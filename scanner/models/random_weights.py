"""Full-size models without trained weights, to measure speed and FLOPs without downloads."""

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from scanner.models.finding import find_model
from scanner.models.loading import DTYPES, choose_device, choose_dtype, load_tokenizer
from scanner.models.noise_process import Ddpm
from scanner.models.sdxl import StableDiffusionXL
from scanner.models.stable_diffusion import StableDiffusion

TEXT_ENCODER = CLIPTextConfig(
    vocab_size=49408,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=77,
)
SECOND_TEXT_ENCODER = CLIPTextConfig(
    vocab_size=49408,
    hidden_size=1280,
    intermediate_size=5120,
    num_hidden_layers=32,
    num_attention_heads=20,
    max_position_embeddings=77,
    projection_dim=1280,
    hidden_act="gelu",
)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def unet_14() -> UNet2DConditionModel:
    """Return Stable Diffusion 1.4's U-Net (860 million parameters)."""
    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def stable_diffusion_14(dtype: str = "auto", device: str = "auto") -> StableDiffusion:
    """Return Stable Diffusion 1.4's architecture at 512 px, with the text encoder of ViT-L/14.

    The weights are drawn on the device, so they differ between kinds of device. ``dtype``,
    ``device``: as in :func:`load_model`. The tokenizer is the testbed's, a subset of the same
    vocabulary.
    """
    device = choose_device(device)
    precision = DTYPES[choose_dtype(dtype, device)]
    torch.manual_seed(0)
    with torch.device(device):
        unet, text = unet_14(), CLIPTextModel(TEXT_ENCODER)
    return StableDiffusion(
        unet=unet.to(precision),
        text_encoder=text.to(precision),
        tokenizer=load_tokenizer(find_model("testbed")),
        noise_process=Ddpm({**BETAS, "prediction_type": "epsilon"}),
        weights="random",
    )


def unet_xl() -> UNet2DConditionModel:
    """Return SDXL's U-Net (2.6 billion parameters)."""
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def stable_diffusion_xl() -> StableDiffusionXL:
    """Return SDXL's architecture at 1024 px on the meta device: to count FLOPs, not to run."""
    with torch.device("meta"):
        unet, text = unet_xl(), CLIPTextModel(TEXT_ENCODER)
        second = CLIPTextModelWithProjection(SECOND_TEXT_ENCODER)
    tokenizer = load_tokenizer(find_model("testbed"))
    return StableDiffusionXL(
        unet=unet,
        text_encoder=text,
        text_encoder_2=second,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        noise_process=Ddpm({**BETAS, "prediction_type": "epsilon"}),
        weights="none",
    )
