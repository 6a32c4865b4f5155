"""Small pipelines of further transformer families' real classes, with random weights."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)
from transformers import CLIPTextModel, UMT5Config, UMT5EncoderModel

from tests.random_language_models import DYNAMIC, cogview4, lumina_2, qwen_image, sana, z_image
from tests.random_pipelines import clip_config, clip_tokenizer
from tests.random_tokenizers import make_llama_tokenizer
from tests.random_transformers import JOINT_WIDTH, make_t5_tokenizer, sharpened, small_t5, small_vae

POOLED_WIDTH = 32


def make_random_family(kind: str) -> DiffusionPipeline:
    """A pipeline of a kind: its real classes, small, with random weights."""
    torch.manual_seed(0)
    return FAMILIES[kind]()


def _pixart(pipeline: type[Any], sample_size: int) -> DiffusionPipeline:
    tokenizer = make_t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        sample_size=sample_size,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=5,
        num_attention_heads=3,
        attention_head_dim=16,
        cross_attention_dim=48,
        caption_channels=JOINT_WIDTH,
    )
    return pipeline(
        tokenizer=tokenizer,
        text_encoder=small_t5(tokenizer),
        vae=small_vae(4),
        transformer=sharpened(transformer),
        scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )


def _flux() -> DiffusionPipeline:
    clip, t5 = clip_tokenizer(), make_t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=JOINT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, **DYNAMIC),
        vae=small_vae(16),
        text_encoder=CLIPTextModel(clip_config(clip, POOLED_WIDTH, "quick_gelu")),
        tokenizer=clip,
        text_encoder_2=small_t5(t5),
        tokenizer_2=t5,
        transformer=sharpened(transformer),
    )


def _chroma() -> DiffusionPipeline:
    t5 = make_t5_tokenizer()
    transformer = ChromaTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=JOINT_WIDTH,
        axes_dims_rope=(4, 6, 6),
        approximator_num_channels=8,
        approximator_hidden_dim=32,
        approximator_layers=2,
    )
    return ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**DYNAMIC),
        vae=small_vae(16),
        text_encoder=small_t5(t5),
        tokenizer=t5,
        transformer=sharpened(transformer),
    )


def _aura_flow() -> DiffusionPipeline:
    tokenizer = make_llama_tokenizer()
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=2,
        num_single_dit_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=JOINT_WIDTH,
        caption_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=64,
    )
    encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer) + 3,
            d_model=JOINT_WIDTH,
            d_kv=12,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )
    return AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder.eval(),
        vae=small_vae(4, shift=None),
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "pixart-alpha": lambda: _pixart(PixArtAlphaPipeline, 128),
    "pixart-sigma": lambda: _pixart(PixArtSigmaPipeline, 16),
    "flux": _flux,
    "chroma": _chroma,
    "sana": sana,
    "qwen-image": qwen_image,
    "aura-flow": _aura_flow,
    "cogview4": cogview4,
    "lumina-2": lumina_2,
    "z-image": z_image,
}
LAYERS = {
    **{"pixart-alpha": 5, "pixart-sigma": 5, "flux": 6, "chroma": 6, "sana": 5, "qwen-image": 5},
    **{"aura-flow": 6, "cogview4": 5, "lumina-2": 5, "z-image": 5},
}
