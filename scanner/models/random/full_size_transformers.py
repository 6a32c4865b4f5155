"""Further full-size transformers on the meta device: to count, not to run.

Sizes are those of the configurations that the models are published with: Stable Diffusion 3.5's, of
the classes' defaults in diffusers (Lumina-Image 2.0, Z-Image, AuraFlow), or of diffusers' script
that converts CogView4.
"""

from functools import partial
from typing import Any

from diffusers import (
    AuraFlowTransformer2DModel,
    CogView4Transformer2DModel,
    Lumina2Transformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from transformers import (
    Gemma2Model,
    GlmConfig,
    GlmModel,
    Qwen3Config,
    Qwen3Model,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from scanner.models.families.aura_flow import AuraFlow
from scanner.models.families.cogview4 import CogView4
from scanner.models.families.lumina2 import Lumina2
from scanner.models.families.pixart import PixArt
from scanner.models.families.stable_diffusion_3 import StableDiffusion3
from scanner.models.families.z_image import ZImage
from scanner.models.files.finding import find_model
from scanner.models.loading import DTYPES, load_tokenizer
from scanner.models.noise_process import Ddpm
from scanner.models.parts import build_on_meta
from scanner.models.random.random_weights import (
    GEMMA_2B,
    PIXART_BETAS,
    T5_XXL,
    pixart_transformer,
    stable_diffusion_3,
    without_weights,
)
from scanner.models.transformer_model import OneEncoderModel

PILE_T5_XL = UMT5Config(
    vocab_size=32128,
    d_model=2048,
    d_kv=64,
    d_ff=5120,
    num_layers=24,
    num_heads=32,
    feed_forward_proj="gated-gelu",
)
GLM_9B = GlmConfig(
    vocab_size=151552,
    hidden_size=4096,
    intermediate_size=13696,
    num_hidden_layers=40,
    num_attention_heads=32,
    num_key_value_heads=2,
    head_dim=128,
)
QWEN_4B = Qwen3Config(
    vocab_size=151936,
    hidden_size=2560,
    intermediate_size=9728,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
)
SD35 = {
    "sample_size": 128,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "qk_norm": "rms_norm",
}
SD35_MEDIUM = partial(
    SD3Transformer2DModel,
    num_layers=24,
    num_attention_heads=24,
    caption_projection_dim=1536,
    pos_embed_max_size=384,
    dual_attention_layers=tuple(range(13)),
    **SD35,
)
"""2.2 billion parameters, and an attention of the image alone in the first half of the blocks."""
SD35_LARGE = partial(
    SD3Transformer2DModel,
    num_layers=38,
    num_attention_heads=38,
    caption_projection_dim=2432,
    pos_embed_max_size=192,
    **SD35,
)
"""8.1 billion parameters."""


def stable_diffusion_35_medium(dtype: str = "bfloat16") -> StableDiffusion3:
    """Return Stable Diffusion 3.5 medium's architecture at 1024 px, with T5."""
    return stable_diffusion_3(dtype, SD35_MEDIUM)


def stable_diffusion_35_large(dtype: str = "bfloat16") -> StableDiffusion3:
    """Return Stable Diffusion 3.5 large's architecture at 1024 px, with T5."""
    return stable_diffusion_3(dtype, SD35_LARGE)


def pixart_alpha(dtype: str = "bfloat16") -> PixArt:
    """Return PixArt-α's architecture for 1024 px: Σ's, told sizes, with a shorter text."""

    def transformer() -> PixArtTransformer2DModel:
        return pixart_transformer(use_additional_conditions=True)

    return PixArt(
        transformer=without_weights(transformer, dtype),
        text_encoder=build_on_meta(T5EncoderModel, T5_XXL, DTYPES[dtype]),
        tokenizer=load_tokenizer(find_model("testbed")),
        noise_process=Ddpm({**PIXART_BETAS, "prediction_type": "epsilon"}),
        weights="none",
    )


def aura_flow(dtype: str = "bfloat16") -> AuraFlow:
    """Return AuraFlow 0.3's architecture (6.9 billion parameters), at 1024 px instead of its
    configuration's 512."""
    transformer = partial(AuraFlowTransformer2DModel, sample_size=128, pos_embed_max_size=9216)
    return _with_one_encoder(
        AuraFlow, transformer, UMT5EncoderModel, PILE_T5_XL, dtype, {"shift": 1.73}
    )


def cogview4(dtype: str = "bfloat16") -> CogView4:
    """Return CogView4's architecture (6.4 billion parameters, and 9 of GLM-4) at 1024 px."""
    transformer = partial(
        CogView4Transformer2DModel, num_layers=28, attention_head_dim=128, num_attention_heads=32
    )
    shift = {"use_dynamic_shifting": True, "base_shift": 0.25, "max_shift": 0.75}
    return _with_one_encoder(CogView4, transformer, GlmModel, GLM_9B, dtype, shift)


def lumina_2(dtype: str = "bfloat16") -> Lumina2:
    """Return Lumina-Image 2.0's architecture (2.6 billion parameters) at 1024 px."""
    transformer = partial(Lumina2Transformer2DModel, cap_feat_dim=GEMMA_2B.hidden_size)
    return _with_one_encoder(Lumina2, transformer, Gemma2Model, GEMMA_2B, dtype, {"shift": 6.0})


def z_image(dtype: str = "bfloat16") -> ZImage:
    """Return Z-Image's architecture (6.2 billion parameters) at 1024 px."""
    return _with_one_encoder(
        ZImage, ZImageTransformer2DModel, Qwen3Model, QWEN_4B, dtype, {"shift": 6.0}
    )


def _with_one_encoder(
    family: type[OneEncoderModel],
    transformer: Any,
    encoder: type[Any],
    config: Any,
    dtype: str,
    scheduler: dict[str, Any],
) -> Any:
    return family(
        transformer=without_weights(transformer, dtype),
        text_encoder=build_on_meta(encoder, config, DTYPES[dtype]),
        tokenizer=load_tokenizer(find_model("testbed")),
        noise_process=family.noise_process_of(scheduler),
        weights="none",
    )
