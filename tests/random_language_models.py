"""Small pipelines whose text encoder is a language model, with random weights."""

from typing import Any

from diffusers import (
    AutoencoderDC,
    AutoencoderKLQwenImage,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    GlmConfig,
    GlmModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
)

from tests.random_tokenizers import make_gemma_tokenizer, make_glm_tokenizer, make_qwen_tokenizer
from tests.random_transformers import JOINT_WIDTH, sharpened, small_vae

DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
CHAT = (
    "{% for message in messages %}"
    r"{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    r"{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
"""What Qwen's template does with one message."""


def sana() -> DiffusionPipeline:
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
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=_small_gemma(tokenizer),
        vae=vae,
        transformer=sharpened(transformer),
        scheduler=DPMSolverMultistepScheduler(
            use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
        ),
    )


def _small_gemma(tokenizer: GemmaTokenizer) -> Gemma2Model:
    config = Gemma2Config(**_small_llm(tokenizer), head_dim=12, sliding_window=16)
    return Gemma2Model(config).eval()


def _small_llm(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer) + 3,
        "hidden_size": JOINT_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }


def lumina_2() -> DiffusionPipeline:
    tokenizer = make_gemma_tokenizer()
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=64,
        num_layers=5,
        num_refiner_layers=2,
        num_attention_heads=4,
        num_kv_heads=2,
        multiple_of=16,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(300, 32, 32),
        cap_feat_dim=JOINT_WIDTH,
    )
    return Lumina2Pipeline(
        tokenizer=tokenizer,
        text_encoder=_small_gemma(tokenizer),
        vae=small_vae(4),
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


def z_image() -> DiffusionPipeline:
    tokenizer = make_qwen_tokenizer()
    tokenizer.chat_template = CHAT
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=5,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=JOINT_WIDTH,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    return ZImagePipeline(
        tokenizer=tokenizer,
        text_encoder=Qwen3Model(Qwen3Config(**_small_llm(tokenizer), head_dim=12)).eval(),
        vae=small_vae(4),
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


def cogview4() -> DiffusionPipeline:
    tokenizer = make_glm_tokenizer()
    config = GlmConfig(**_small_llm(tokenizer), head_dim=12, pad_token_id=tokenizer.pad_token_id)
    transformer = CogView4Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=5,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=JOINT_WIDTH,
        time_embed_dim=32,
        condition_dim=16,
        sample_size=8,
        rope_axes_dim=(32, 32),
    )
    return CogView4Pipeline(
        tokenizer=tokenizer,
        text_encoder=GlmModel(config).eval(),
        vae=small_vae(4, shift=None),
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75, time_shift_type="linear"
        ),
    )


def qwen_image() -> DiffusionPipeline:
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
        **_small_llm(tokenizer),
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
