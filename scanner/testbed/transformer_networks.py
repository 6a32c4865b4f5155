"""The networks of the transformer testbed: Stable Diffusion 3's classes at a small size."""

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from scanner.testbed.networks import LATENT

WIDTH = 128
HEADS = 4
LAYERS = 6
TEXT_WIDTH = WIDTH // 2
"""Of each text encoder; their hidden states are concatenated."""
SHIFT = 3.0


def make_transformer_pipeline(
    tokenizer: CLIPTokenizer, vae: AutoencoderKL
) -> StableDiffusion3Pipeline:
    """Build a pipeline with randomly initialised transformer and text encoders, without T5.

    ``vae``: trained; its latents are 4 x 8 x 8 for images of 32 px.
    """
    transformer = SD3Transformer2DModel(
        sample_size=LATENT,
        patch_size=1,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        num_layers=LAYERS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        pos_embed_max_size=LATENT,
        qk_norm="rms_norm",
    )
    vae.register_to_config(shift_factor=0.0)  # the pipeline adds it to the latents
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=vae,
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=_text_encoder(tokenizer),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def _text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=HEADS,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class TextTower(torch.nn.Module):
    """Both text encoders as one, from token ids to the pooled text, to train them together."""

    def __init__(self, pipe: StableDiffusion3Pipeline) -> None:
        super().__init__()
        self.encoders = torch.nn.ModuleList([pipe.text_encoder, pipe.text_encoder_2])

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        return torch.cat([encoder(ids_BL).text_embeds for encoder in self.encoders], 1)
