"""Small pipelines of further transformer families' real classes, with random weights."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKLQwenImage,
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
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextModel,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)

from tests.random_pipelines import clip_config, clip_tokenizer
from tests.random_transformers import JOINT_WIDTH, make_t5_tokenizer, sharpened, small_t5, small_vae

POOLED_WIDTH = 32
DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}


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


def _sana() -> DiffusionPipeline:
    tokenizer = make_gemma_tokenizer()
    transformer = SanaTransformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=5,
        num_attention_heads=2,
        attention_head_dim=16,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=JOINT_WIDTH,
        qk_norm="rms_norm_across_heads",
    )
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        encoder_block_types=("ResBlock",) * 4,
        decoder_block_types=("ResBlock",) * 4,
        encoder_layers_per_block=(1,) * 4,
        decoder_layers_per_block=(1,) * 4,
        encoder_qkv_multiscales=((),) * 4,
        decoder_qkv_multiscales=((),) * 4,
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )
    encoder = Gemma2Model(
        Gemma2Config(
            vocab_size=len(tokenizer) + 3,
            hidden_size=JOINT_WIDTH,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=12,
            sliding_window=16,
        )
    )
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder.eval(),
        vae=vae,
        transformer=sharpened(transformer),
        scheduler=DPMSolverMultistepScheduler(
            use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
        ),
    )


def _qwen_image() -> DiffusionPipeline:
    tokenizer = make_qwen_tokenizer()
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=64,
        out_channels=16,
        num_layers=5,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=JOINT_WIDTH,
        axes_dims_rope=(4, 6, 6),
    )
    text = {
        "vocab_size": len(tokenizer) + 3,
        "hidden_size": JOINT_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 4, 4]},
    }
    vision = {"depth": 1, "hidden_size": 16, "out_hidden_size": JOINT_WIDTH, "num_heads": 2}
    encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**DYNAMIC, shift_terminal=0.02),
        vae=vae,
        text_encoder=encoder.eval(),
        tokenizer=tokenizer,
        transformer=sharpened(transformer),
    )


def make_qwen_tokenizer() -> Qwen2Tokenizer:
    """Qwen's kind of tokenizer, with bytes and a few words."""
    alphabet = sorted(ByteLevel.alphabet())
    merges = ["r e", "re d", "Ġ red", "a p", "ap p", "app l", "appl e", "Ġ apple"]
    pieces = [*alphabet, *(merge.replace(" ", "") for merge in merges)]
    tokenizer = Qwen2Tokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[tuple(merge.split()) for merge in merges],
    )
    special = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    tokenizer.add_special_tokens(special)
    return tokenizer


def make_gemma_tokenizer() -> GemmaTokenizer:
    """Gemma's kind of tokenizer, with letters, bytes and a few words."""
    letters = [chr(code) for code in range(33, 0x180) if chr(code).isprintable()]
    merges = ["r e", "re d", "▁ red", "a p", "ap p", "app l", "appl e", "▁ apple"]
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters]
    pieces += [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [merge.replace(" ", "") for merge in merges]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return GemmaTokenizer(vocab=vocabulary, merges=[tuple(merge.split()) for merge in merges])


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "pixart-alpha": lambda: _pixart(PixArtAlphaPipeline, 128),
    "pixart-sigma": lambda: _pixart(PixArtSigmaPipeline, 16),
    "flux": _flux,
    "chroma": _chroma,
    "sana": _sana,
    "qwen-image": _qwen_image,
}
LAYERS = {"pixart-alpha": 5, "pixart-sigma": 5, "flux": 6, "chroma": 6, "sana": 5, "qwen-image": 5}
