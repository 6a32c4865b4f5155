"""Train the transformer testbed: text encoders first, then the transformer by flow matching.

Without T5, Stable Diffusion 3's pipeline appends 256 zero vectors to the text. They stay equal to
one another in every layer, since text has no position embedding there. So training replaces them by
one zero vector whose key has ln 256 added to its logit, which is exact and 2.8 times fewer tokens.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn.functional import mse_loss, pad, scaled_dot_product_attention

from scanner.testbed.checkpoint import Checkpoint
from scanner.testbed.recipe import TransformerRecipe
from scanner.testbed.reproduction import generate_images
from scanner.testbed.training import encode, token_ids, train_text
from scanner.testbed.training_loop import batch_of, file_of, follow, report, steps_of
from scanner.testbed.transformer_networks import TextTower

ZEROS = 256
"""Positions of T5, which are zeros without it."""
SIGMA_MEAN, SIGMA_SPREAD = 0.3, 1.2
"""σ = sigmoid(spread · N + mean): logit-normal, as in Esser et al. 2024, towards more noise."""


def train_transformer(
    pipe: StableDiffusion3Pipeline,
    images_NCHW: Tensor,
    captions: list[str],
    rows: Tensor,
    recipe: TransformerRecipe,
    checkpoints: Path | None = None,
) -> None:
    """Train text encoders and transformer in place, on the latents of the pipeline's VAE.

    ``images_NCHW``: distinct, in [-1, 1]; ``rows`` (R,): image per caption.
    """
    latents = encode(pipe.vae, images_NCHW) * pipe.vae.config.scaling_factor
    ids = token_ids(pipe.tokenizer, captions)
    train_text(TextTower(pipe), ids, latents, captions, rows, recipe, checkpoints)
    distinct, number = ids.unique(dim=0, return_inverse=True)
    hidden_NLC, pooled_NC = encode_text(pipe, distinct)
    empty_1LC, empty_1C = encode_text(pipe, token_ids(pipe.tokenizer, [""]))

    torch.manual_seed(recipe.seed + 1)
    transformer = pipe.transformer
    average = copy.deepcopy(transformer.train())
    optimizer = torch.optim.AdamW(transformer.parameters(), recipe.rate, weight_decay=0.01)
    both = torch.nn.ModuleDict({"trained": transformer, "average": average})
    state = Checkpoint(file_of(checkpoints, "transformer"), both, optimizer)
    steps = recipe.epochs * (len(rows) // recipe.batch)
    with folded_zeros(transformer):
        for step in steps_of("transformer", steps, state, recipe.rate):
            chosen = batch_of(step, len(rows), recipe)
            hidden_BLC, pooled_BC = hidden_NLC[number[chosen]], pooled_NC[number[chosen]]
            dropped = torch.rand(len(chosen)) < recipe.caption_dropout
            hidden_BLC[dropped], pooled_BC[dropped] = empty_1LC[0], empty_1C[0]
            loss = flow_loss(transformer, latents[rows[chosen]], hidden_BLC, pooled_BC)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            follow(average, transformer, min(recipe.ema, (1 + step) / (10 + step)))
            report(step, "velocity loss", loss.item())
    transformer.load_state_dict(average.state_dict())
    transformer.eval()


def flow_loss(
    transformer: SD3Transformer2DModel, x0_BCHW: Tensor, hidden_BLC: Tensor, pooled_BC: Tensor
) -> Tensor:
    """Return the mean squared error of the velocity ε − x₀ at random σ."""
    sigma_B = torch.sigmoid(SIGMA_SPREAD * torch.randn(len(x0_BCHW)) + SIGMA_MEAN)
    sigma = sigma_B.view(-1, 1, 1, 1)
    noise = torch.randn_like(x0_BCHW)
    noisy = (1 - sigma) * x0_BCHW + sigma * noise
    velocity = transformer(noisy, hidden_BLC, pooled_BC, sigma_B * 1000, return_dict=False)[0]
    return mse_loss(velocity, noise - x0_BCHW)


@torch.no_grad()
def encode_text(pipe: StableDiffusion3Pipeline, ids_NL: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden states (N, L + 1, C), the last of zeros for all of T5's, and pooled (N, C)."""
    hidden, pooled = [], []
    for part in ids_NL.split(256):
        outputs = [
            encoder(part, output_hidden_states=True)
            for encoder in (pipe.text_encoder, pipe.text_encoder_2)
        ]
        both = torch.cat([output.hidden_states[-2] for output in outputs], -1)
        hidden.append(pad(both, (0, 0, 0, 1)))
        pooled.append(torch.cat([output.text_embeds for output in outputs], -1))
    return torch.cat(hidden), torch.cat(pooled)


@torch.inference_mode()
def generate_folded(pipe: StableDiffusion3Pipeline, captions: list[str], seed: int) -> Tensor:
    """Generate as :func:`scanner.testbed.reproduction.generate_images` does, with folded zeros."""
    hidden_BLC, pooled_BC = encode_text(pipe, token_ids(pipe.tokenizer, captions))
    empty_1LC, empty_1C = encode_text(pipe, token_ids(pipe.tokenizer, [""]))
    with folded_zeros(pipe.transformer):
        return generate_images(
            pipe,
            captions,
            seed,
            prompt_embeds=hidden_BLC,
            pooled_prompt_embeds=pooled_BC,
            negative_prompt_embeds=empty_1LC.expand_as(hidden_BLC),
            negative_pooled_prompt_embeds=empty_1C.expand_as(pooled_BC),
        )


@contextmanager
def folded_zeros(transformer: SD3Transformer2DModel) -> Iterator[None]:
    """Within this context, the last text position stands for ZEROS equal ones."""
    stock = [block.attn.processor for block in transformer.transformer_blocks]
    for block in transformer.transformer_blocks:
        block.attn.processor = _FoldedZeros()
    try:
        yield
    finally:
        for block, processor in zip(transformer.transformer_blocks, stock, strict=True):
            block.attn.processor = processor


class _FoldedZeros:
    """The stock joint attention, with ln ZEROS added to the logits of the last key."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
    ) -> tuple[Tensor, Tensor]:
        def heads(projected_BLC: Tensor) -> Tensor:
            return projected_BLC.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        image, text = hidden_states, encoder_hidden_states
        q = [attn.norm_q(heads(attn.to_q(image))), attn.norm_added_q(heads(attn.add_q_proj(text)))]
        k = [attn.norm_k(heads(attn.to_k(image))), attn.norm_added_k(heads(attn.add_k_proj(text)))]
        v = [heads(attn.to_v(image)), heads(attn.add_v_proj(text))]
        tokens = image.shape[1] + text.shape[1]
        bias = image.new_zeros(1, 1, 1, tokens)
        bias[..., -1] = math.log(ZEROS)
        output = scaled_dot_product_attention(
            torch.cat(q, 2), torch.cat(k, 2), torch.cat(v, 2), attn_mask=bias
        )
        output = output.transpose(1, 2).flatten(2)
        of_image, of_text = output.split([image.shape[1], text.shape[1]], 1)
        if not attn.context_pre_only:
            of_text = attn.to_add_out(of_text)
        return attn.to_out[1](attn.to_out[0](of_image)), of_text
