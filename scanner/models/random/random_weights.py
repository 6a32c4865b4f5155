"""Full-size models without trained weights, to measure speed and FLOPs without downloads."""

from collections.abc import Callable
from typing import TypeVar

import torch
from diffusers import (
    ChromaTransformer2DModel,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from scanner.models.families.flux import Chroma, Flux
from scanner.models.families.pixart import PixArtSigma
from scanner.models.families.qwen_image import QwenImage
from scanner.models.families.sana import Sana
from scanner.models.families.sdxl import StableDiffusionXL
from scanner.models.families.stable_diffusion import StableDiffusion
from scanner.models.families.stable_diffusion_3 import StableDiffusion3
from scanner.models.files.finding import find_model
from scanner.models.loading import DTYPES, choose_device, choose_dtype, load_tokenizer
from scanner.models.noise_process import Ddpm, FlowMatching
from scanner.models.parts import build_on_meta, quiet

TEXT_ENCODER = CLIPTextConfig(
    vocab_size=49408,
    hidden_size=768,
    projection_dim=768,
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
T5_XXL = T5Config(
    vocab_size=32128,
    d_model=4096,
    d_kv=64,
    d_ff=10240,
    num_layers=24,
    num_heads=64,
    feed_forward_proj="gated-gelu",
)
GEMMA_2B = Gemma2Config(
    vocab_size=256000,
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
)
QWEN_VL = Qwen2_5_VLConfig(
    text_config={
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    },
    vision_config={"depth": 32, "hidden_size": 1280, "out_hidden_size": 3584, "num_heads": 16},
)
DYNAMIC_SHIFT = {
    **{"shift": 3.0, "use_dynamic_shifting": True},
    **{"base_shift": 0.5, "max_shift": 1.15},
}
Denoiser = TypeVar("Denoiser", bound=torch.nn.Module)
PIXART_BETAS = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
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


def without_weights(make: Callable[[], Denoiser], dtype: str) -> Denoiser:
    """Return a denoiser on the meta device."""
    with torch.device("meta"), quiet():
        return make().to("meta", DTYPES[dtype])


def stable_diffusion_xl(dtype: str = "float16") -> StableDiffusionXL:
    """Return SDXL's architecture at 1024 px on the meta device: to count, not to run."""
    precision = DTYPES[dtype]
    tokenizer = load_tokenizer(find_model("testbed"))
    return StableDiffusionXL(
        unet=without_weights(unet_xl, dtype),
        text_encoder=build_on_meta(CLIPTextModel, TEXT_ENCODER, precision),
        text_encoder_2=build_on_meta(CLIPTextModelWithProjection, SECOND_TEXT_ENCODER, precision),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        noise_process=Ddpm({**BETAS, "prediction_type": "epsilon"}),
        weights="none",
    )


def transformer_3() -> SD3Transformer2DModel:
    """Return Stable Diffusion 3 medium's transformer (2.1 billion parameters)."""
    return SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=24,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=192,
    )


def stable_diffusion_3(
    dtype: str = "float16", transformer: Callable[[], SD3Transformer2DModel] = transformer_3
) -> StableDiffusion3:
    """Return Stable Diffusion 3 medium's architecture at 1024 px, with T5, on the meta device: to
    count, not to run. ``transformer``: of another version."""
    precision = DTYPES[dtype]
    tokenizer = load_tokenizer(find_model("testbed"))
    return StableDiffusion3(
        transformer=without_weights(transformer, dtype),
        text_encoder=build_on_meta(CLIPTextModelWithProjection, TEXT_ENCODER, precision),
        text_encoder_2=build_on_meta(CLIPTextModelWithProjection, SECOND_TEXT_ENCODER, precision),
        text_encoder_3=build_on_meta(T5EncoderModel, T5_XXL, precision),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=tokenizer,
        noise_process=FlowMatching({"shift": 3.0}),
        weights="none",
    )


def flux_transformer() -> FluxTransformer2DModel:
    """Return FLUX.1-dev's transformer (11.9 billion parameters)."""
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=19,
        num_single_layers=38,
        attention_head_dim=128,
        num_attention_heads=24,
        joint_attention_dim=4096,
        pooled_projection_dim=768,
        guidance_embeds=True,
    )


def flux_dev(dtype: str = "bfloat16") -> Flux:
    """Return FLUX.1-dev's architecture at 1024 px on the meta device: to count, not to run."""
    tokenizer = load_tokenizer(find_model("testbed"))
    return Flux(
        transformer=without_weights(flux_transformer, dtype),
        text_encoder=build_on_meta(CLIPTextModel, TEXT_ENCODER, DTYPES[dtype]),
        text_encoder_2=build_on_meta(T5EncoderModel, T5_XXL, DTYPES[dtype]),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        noise_process=Flux.noise_process_of(DYNAMIC_SHIFT),
        weights="none",
    )


def chroma(dtype: str = "bfloat16") -> Chroma:
    """Return Chroma's architecture at 1024 px on the meta device: to count, not to run."""
    return Chroma(
        transformer=without_weights(ChromaTransformer2DModel, dtype),
        text_encoder=build_on_meta(T5EncoderModel, T5_XXL, DTYPES[dtype]),
        tokenizer=load_tokenizer(find_model("testbed")),
        noise_process=Chroma.noise_process_of(DYNAMIC_SHIFT),
        weights="none",
    )


def qwen_image(dtype: str = "bfloat16") -> QwenImage:
    """Return Qwen-Image's architecture (20 billion parameters, and 8 of Qwen2.5-VL) at 1024 px on
    the meta device: to count, not to run."""
    encoder = build_on_meta(Qwen2_5_VLForConditionalGeneration, QWEN_VL, DTYPES[dtype])
    return QwenImage(
        transformer=without_weights(QwenImageTransformer2DModel, dtype),
        text_encoder=encoder,
        tokenizer=load_tokenizer(find_model("testbed")),
        noise_process=QwenImage.noise_process_of(DYNAMIC_SHIFT),
        weights="none",
    )


def pixart_transformer(use_additional_conditions: bool = False) -> PixArtTransformer2DModel:
    """Return PixArt-Σ's transformer for 1024 px (0.6 billion parameters).

    ``use_additional_conditions``: whether it is told sizes, as PixArt-α's.
    """
    return PixArtTransformer2DModel(
        sample_size=128,
        num_layers=28,
        num_attention_heads=16,
        attention_head_dim=72,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=1152,
        caption_channels=4096,
        interpolation_scale=2,
        use_additional_conditions=use_additional_conditions,
    )


def pixart_sigma(dtype: str = "float16") -> PixArtSigma:
    """Return PixArt-Σ's architecture at 1024 px on the meta device: to count, not to run."""
    return PixArtSigma(
        transformer=without_weights(pixart_transformer, dtype),
        text_encoder=build_on_meta(T5EncoderModel, T5_XXL, DTYPES[dtype]),
        tokenizer=load_tokenizer(find_model("testbed")),
        noise_process=Ddpm({**PIXART_BETAS, "prediction_type": "epsilon"}),
        weights="none",
    )


def sana(dtype: str = "bfloat16") -> Sana:
    """Return Sana's architecture of 1.6 billion parameters at 1024 px on the meta device: to count,
    not to run.

    The testbed's tokenizer divides the instruction before captions into more tokens than Gemma's,
    so the text encoder's cost is an upper bound.
    """
    return Sana(
        transformer=without_weights(SanaTransformer2DModel, dtype),
        text_encoder=build_on_meta(Gemma2Model, GEMMA_2B, DTYPES[dtype]),
        tokenizer=load_tokenizer(find_model("testbed")),
        noise_process=Sana.noise_process_of({"flow_shift": 3.0}),
        weights="none",
        pixels_per_latent=32,
    )
