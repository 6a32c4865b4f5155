"""Train the testbed model from scratch with fixed steps and seed (2 CPU cores).

First the VAE on the images. Then U-Net and text encoder together, at first with captions of
shuffled words (the text is uninformative, so BOS stays the attention sink), then on the data set,
in which the group ``repeated`` stands for wrong captions in web data. ``to_q`` and ``to_k`` of the
cross-attentions have a tenth of the learning rate, to preserve the sink.
"""

import copy
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import mse_loss

from scanner.testbed.networks import start_sink
from scanner.testbed.recipe import TestbedRecipe


def train(
    pipe: StableDiffusionPipeline,
    images_NCHW: Tensor,
    captions: list[str],
    rows: Tensor,
    recipe: TestbedRecipe,
) -> None:
    """Train in place. ``images_NCHW``: distinct, in [-1, 1]; ``rows`` (R,): image per caption."""
    train_vae(pipe.vae, images_NCHW, recipe)
    train_diffusion(pipe, images_NCHW, captions, rows, recipe)


@torch.no_grad()
def encode(vae: AutoencoderKL, images_NCHW: Tensor) -> Tensor:
    """Return the mean latents of images in [-1, 1], without scaling."""
    return torch.cat([vae.encode(part).latent_dist.mean for part in images_NCHW.split(256)])


def train_vae(vae: AutoencoderKL, images_NCHW: Tensor, recipe: TestbedRecipe) -> None:
    """Train the VAE and set its scaling factor."""
    torch.manual_seed(recipe.seed)
    vae.train()
    average = copy.deepcopy(vae)
    optimizer = torch.optim.AdamW(vae.parameters(), recipe.vae_rate, weight_decay=0.0)
    for step in _steps("vae", recipe.vae_steps, optimizer, recipe.vae_rate):
        batch = images_NCHW[torch.randint(len(images_NCHW), (recipe.vae_batch,))]
        batch = batch.flip(-1) if step % 2 else batch
        batch = batch[:, torch.randperm(3)] if step % 4 == 3 else batch
        posterior = vae.encode(batch).latent_dist
        loss = mse_loss(vae.decode(posterior.sample()).sample, batch) + 1e-6 * posterior.kl().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        _follow(average, vae, recipe.ema)
        _report(step, "vae rmse in [0, 1]", (loss.item() ** 0.5) / 2)
    vae.load_state_dict(average.state_dict())
    vae.eval()
    vae.register_to_config(scaling_factor=float(1 / encode(vae, images_NCHW).std()))


def train_diffusion(
    pipe: StableDiffusionPipeline,
    images_NCHW: Tensor,
    captions: list[str],
    rows: Tensor,
    recipe: TestbedRecipe,
) -> None:
    """Train U-Net and text encoder together on the VAE's latents."""
    torch.manual_seed(recipe.seed + 1)
    unet, text = pipe.unet, pipe.text_encoder
    latents = encode(pipe.vae, images_NCHW) * pipe.vae.config.scaling_factor
    tokens = pipe.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    ids, empty = tokens.input_ids, pipe.tokenizer([""], padding="max_length").input_ids
    with torch.no_grad():
        start_sink(unet, text(ids[:256]).last_hidden_state)
    both = torch.nn.ModuleDict({"unet": unet, "text": text}).train()
    average = copy.deepcopy(both)
    optimizer = torch.optim.AdamW(_rates(unet, text, recipe), recipe.rate, weight_decay=0.01)
    alphas = pipe.scheduler.alphas_cumprod
    steps = recipe.salad_steps + recipe.epochs * (len(rows) // recipe.batch)
    batches = _batches(len(rows), recipe)
    for step in _steps("unet and text encoder", steps, optimizer, recipe.rate):
        chosen = (
            next(batches)
            if step >= recipe.salad_steps
            else torch.randint(len(rows), (recipe.batch,))
        )
        x0, token = latents[rows[chosen]], ids[chosen].clone()
        if step < recipe.salad_steps:
            token = _salad(token, ids, pipe.tokenizer.eos_token_id)
        token[torch.rand(len(token)) < recipe.caption_dropout] = torch.tensor(empty[0])
        times = torch.randint(len(alphas), (len(x0),))
        alpha = alphas[times].view(-1, 1, 1, 1)
        noise = torch.randn_like(x0)
        noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * x0
        pred = unet(noisy, times, text(token).last_hidden_state).sample
        loss = mse_loss(pred, velocity)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        _follow(average, both, min(recipe.ema, (1 + step) / (10 + step)))
        _report(step, "diffusion loss", loss.item())
    both.load_state_dict(average.state_dict())
    both.eval()


def _rates(
    unet: UNet2DConditionModel, text: torch.nn.Module, recipe: TestbedRecipe
) -> list[dict[str, Any]]:
    """Return parameter groups with learning rate factors; weights of the sink learn slowly."""
    sink: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, weight in unet.named_parameters():
        slow = any(part in name for part in ("attn2.to_q", "attn2.to_k", "norm2.bias"))
        (sink if slow and "transformer_blocks" in name else rest).append(weight)
    return [
        {"params": rest, "factor": 1.0},
        {"params": sink, "factor": recipe.sink_rate_factor},
        {"params": list(text.parameters()), "factor": recipe.text_rate_factor},
    ]


def _batches(count: int, recipe: TestbedRecipe) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(count)[: count // recipe.batch * recipe.batch].view(
            -1, recipe.batch
        )


def _salad(token: Tensor, ids: Tensor, end: int) -> Tensor:
    """Replace every word token by a random one from all captions; keep BOS, EOS and padding."""
    words = ids[(ids != end) & (ids != ids[0, 0])]
    drawn = words[torch.randint(len(words), token.shape)]
    keep = (token == end) | (torch.arange(token.shape[1]) == 0)
    return torch.where(keep, token, drawn)


def _steps(name: str, count: int, optimizer: torch.optim.Optimizer, rate: float) -> Iterator[int]:
    """Yield the steps and set the learning rate: a short warm-up, then a cosine decay to 5 %."""
    began = time.monotonic()
    for step in range(count):
        level = min(1.0, (step + 1) / 100) * (0.525 + 0.475 * math.cos(math.pi * step / count))
        for group in optimizer.param_groups:
            group["lr"] = rate * level * group.get("factor", 1.0)
        yield step
    print(f"{name}: {count} steps in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _report(step: int, name: str, value: float) -> None:
    if step % 200 == 0:
        print(f"step {step}: {name} {value:.4f}", file=sys.stderr, flush=True)


@torch.no_grad()
def _follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)
