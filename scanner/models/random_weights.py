"""Full-size models with random weights, to measure speed and FLOPs without downloads."""

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from scanner.models.diffusion_model import score_scheduler
from scanner.models.finding import find_model
from scanner.models.loading import DTYPES, choose_device, choose_dtype, load_tokenizer
from scanner.models.stable_diffusion import StableDiffusion

TEXT_ENCODER = CLIPTextConfig(
    vocab_size=49408,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=77,
)


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
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return StableDiffusion(
        unet=unet.to(precision),
        text_encoder=text.to(precision),
        tokenizer=load_tokenizer(find_model("testbed")),
        scheduler=score_scheduler({**betas, "prediction_type": "epsilon"}),
        weights="random",
    )
