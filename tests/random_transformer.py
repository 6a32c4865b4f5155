"""Small pipelines of Stable Diffusion 3's real classes, with random weights."""

import string
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from scanner.testbed.files import MODEL

TRANSFORMERS = ("sd3", "sd3-t5")
WIDTH, TEXT_WIDTH, BLOCKS = 32, 24, 3


def make_random_transformer(kind: str, qk_norm: str | None = "rms_norm") -> Any:
    """A pipeline with the real classes and text layout; ``sd3-t5`` has the third text encoder."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=BLOCKS,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * TEXT_WIDTH + 8,  # CLIP's is padded to T5's
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * TEXT_WIDTH,
        pos_embed_max_size=16,
        dual_attention_layers=(0,),
        qk_norm=qk_norm,
    )
    tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
    has_t5 = kind == "sd3-t5"
    return StableDiffusion3Pipeline(
        transformer=_varied(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(),
        text_encoder=_clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=_clip(tokenizer),
        tokenizer_2=tokenizer,
        text_encoder_3=_t5() if has_t5 else None,
        tokenizer_3=_t5_tokenizer() if has_t5 else None,
    )


@torch.no_grad()
def _varied(transformer: SD3Transformer2DModel) -> SD3Transformer2DModel:
    """Give every weight that starts at zero or one other values, and sharpen the attention.

    The gates and shifts of fresh blocks hide errors, and their attention is almost uniform.
    """
    for name, weight in transformer.named_parameters():
        if "norm" in name and "linear" in name:
            weight.copy_(0.3 * torch.randn_like(weight))
        elif "norm_" in name:  # of queries and keys
            weight.copy_(2 + 0.3 * torch.rand_like(weight))
        elif "_q" in name or "_k" in name:
            weight.mul_(3)
        elif name.startswith("proj_out"):
            weight.copy_(0.2 * torch.randn_like(weight))
    return transformer


def _clip(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _t5() -> T5EncoderModel:
    encoder = T5EncoderModel(
        T5Config(
            vocab_size=1024,
            d_model=2 * TEXT_WIDTH + 8,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
        )
    )
    return encoder.eval()  # a fresh one drops out at random


def _t5_tokenizer() -> T5Tokenizer:
    letters = string.ascii_lowercase
    pairs = [one + other for one in letters for other in letters]
    pieces = ["<pad>", "</s>", "<unk>", "▁", *letters, ",", ":", *pairs]
    scores = [0.0, 0.0, 0.0, *(-2.0 for _ in pieces[3:])]
    return T5Tokenizer(vocab=list(zip(pieces, scores, strict=True)), extra_ids=0)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        scaling_factor=1.5,
        shift_factor=0.1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
