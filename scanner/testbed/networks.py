"""The testbed's networks: Stable Diffusion's classes and layer order at a small size."""

import gzip
import json
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scanner.testbed.recipe import TestbedRecipe

LATENT = 8
TEXT_WIDTH = 128
HEADS = 4
MERGES = 6000
SINK_LOGIT = 6.0


def make_tokenizer(clip_merges: Path) -> CLIPTokenizer:
    """Build CLIP's byte-pair encoding with only its first merges (from
    ``bpe_simple_vocab_16e6.txt.gz``)."""
    with gzip.open(clip_merges, "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : MERGES + 1]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + k) for k in range(len(hidden))]
    tokens = letters + [letter + "</w>" for letter in letters]
    tokens += ["".join(pair.split()) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, pairs = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(
            json.dumps({token: number for number, token in enumerate(tokens)}), encoding="utf-8"
        )
        pairs.write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        return CLIPTokenizer(vocab=str(vocabulary), merges=str(pairs), model_max_length=77)


def make_pipeline(tokenizer: CLIPTokenizer, recipe: TestbedRecipe) -> StableDiffusionPipeline:
    """Build a randomly initialised pipeline: 32 px images, C x 8 x 8 latents, 16 cross-attention
    layers."""
    blocks = 3
    unet = UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=recipe.latent_channels,
        out_channels=recipe.latent_channels,
        block_out_channels=(32, 64, 64),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * blocks,
        up_block_types=("CrossAttnUpBlock2D",) * blocks,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        sample_size=LATENT * 4,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=recipe.latent_channels,
        norm_num_groups=8,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=HEADS,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=recipe.prediction,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@torch.no_grad()
def start_sink(unet: UNet2DConditionModel, hidden_BLC: torch.Tensor) -> None:
    """Make the BOS token an attention sink at initialisation, as in Stable Diffusion.

    Since the text encoder is causal, the BOS token's hidden state is the same for every caption. In
    each cross-attention, a rank-one term of ``to_k`` raises it above the mean token, and one of
    ``to_q``, driven by a bias of the preceding norm, gives every query that direction. The BOS
    token's logit rises by ``SINK_LOGIT`` over the mean of the others.

    ``hidden_BLC``: text hidden states of some captions.
    """
    contrast = hidden_BLC[:, 0].mean(0) - hidden_BLC[:, 1:].mean((0, 1))
    contrast /= contrast @ (hidden_BLC[:, 0].mean(0) - hidden_BLC[:, 1:].mean((0, 1)))
    for block in unet.modules():
        if type(block).__name__ != "BasicTransformerBlock":
            continue
        attn, width = block.attn2, block.norm2.bias.shape[0]
        direction = torch.nn.functional.normalize(torch.randn(attn.heads, width // attn.heads))
        bias = torch.randn(width).sign()
        size = (SINK_LOGIT / attn.scale) ** 0.5
        block.norm2.bias.copy_(bias)
        attn.to_q.weight += size * torch.outer(direction.flatten(), bias / width)
        attn.to_k.weight += size * torch.outer(direction.flatten(), contrast)
