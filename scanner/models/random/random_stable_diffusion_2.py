"""Stable Diffusion 2 without trained weights, to count its operations without a download."""

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from scanner.models.families.stable_diffusion import StableDiffusion
from scanner.models.files.finding import find_model
from scanner.models.loading import load_tokenizer
from scanner.models.noise_process import Ddpm
from scanner.models.random.random_weights import BETAS

TEXT_ENCODER = CLIPTextConfig(
    vocab_size=49408,
    hidden_size=1024,
    projection_dim=512,
    intermediate_size=4096,
    num_hidden_layers=23,
    num_attention_heads=16,
    max_position_embeddings=77,
    hidden_act="gelu",
)


def stable_diffusion_2() -> StableDiffusion:
    """Return Stable Diffusion 2's architecture at 768 px on the meta device."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=96,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )
        text = CLIPTextModel(TEXT_ENCODER)
    return StableDiffusion(
        unet=unet.to("meta"),
        text_encoder=text.to("meta"),
        tokenizer=load_tokenizer(find_model("testbed")),
        noise_process=Ddpm({**BETAS, "prediction_type": "v_prediction"}),
        weights="random",
    )
