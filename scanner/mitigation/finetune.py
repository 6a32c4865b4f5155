"""Fine-tune a model's U-Net on captioned pictures, with or without a guard."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from scanner.mitigation.guard import Guard, Signal
from scanner.mitigation.pictures import Pictures, decode
from scanner.mitigation.threshold import Threshold
from scanner.mitigation.tuning import Tuning
from scanner.models import DiffusionModel

ENCODED_AT_ONCE = 16
CALIBRATED_ON = 2048  # two hundred in each of ten noise levels


def empty_caption(model: DiffusionModel) -> dict[str, Tensor]:
    """What the U-Net is told without a caption, as the guard's noise_norm wants it."""
    told = model.encode_empty()
    return {"encoder_hidden_states": told.hidden_BLC, **told.added}


def finetune(
    model: DiffusionModel,
    vae: Any,
    pictures: Pictures,
    how: Tuning,
    guard: Guard | None = None,
    after_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train ``model.unet`` in place, in its own prediction type and at its own noise levels.

    ``guard``: entered by the caller around this call. ``after_step`` is told the number of steps
    done and the loss.
    """
    latents_NCHW = _encode(model, vae, pictures)
    random = torch.Generator().manual_seed(how.seed)
    unet = model.unet.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(unet.parameters(), how.rate, weight_decay=0.0)
    warmup = max(1, how.steps // 20)
    batches = _batches(len(pictures), how.batch, random)
    for step in range(how.steps):
        for group in optimizer.param_groups:
            group["lr"] = how.rate * min(1.0, (step + 1) / warmup)
        rows = next(batches)
        dropped = (torch.rand(len(rows), generator=random) < how.caption_dropout).tolist()
        captions = [
            "" if empty else pictures.captions[row]
            for row, empty in zip(rows, dropped, strict=True)
        ]
        x0_BCHW = latents_NCHW[[pictures.number[row] for row in rows]].to(model.device)
        loss_B, times_B = _losses(model, x0_BCHW, captions, random)
        if guard:
            loss_B = loss_B * guard.weigh(times_B, [pictures.keys[row] for row in rows], captions)
        loss = loss_B.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        after_step(step + 1, loss.item())
    unet.eval().requires_grad_(False)


def make_guard(
    model: DiffusionModel,
    vae: Any,
    signal: Signal,
    layers: tuple[int, ...],
    threshold: Threshold | float,
    how: Tuning,
    softness: float = 0.0,
    clean: Pictures | None = None,
) -> Guard:
    """A guard of a fine-tuning; arguments as Guard has them.

    ``clean``: pairs that are not memorized: the threshold, a RunningQuantile, is then measured on
    them once, before the model learns.
    """

    def guard(threshold: Threshold | float) -> Guard:
        empty = empty_caption(model) if signal == "noise_norm" else None
        return Guard(model.unet, signal, layers, threshold, softness, empty)

    if clean is None:
        return guard(threshold)
    return guard(usual_thresholds(model, vae, clean, guard(threshold), how))


def usual_thresholds(
    model: DiffusionModel, vae: Any, clean: Pictures, guard: Guard, how: Tuning
) -> Threshold:
    """Where a guard's signal begins to be unusual, by noise level, for good.

    Measured by the model as it is now on samples that are known not to be memorized, each at
    several noise levels. ``guard``: made with a RunningQuantile, and used for this alone.
    """
    latents_NCHW = _encode(model, vae, clean)
    random = torch.Generator().manual_seed(how.seed)
    batches = _batches(len(clean), how.batch, random)
    with guard:
        for rows in itertools.islice(batches, -(-CALIBRATED_ON // how.batch)):
            x0_BCHW = latents_NCHW[[clean.number[row] for row in rows]].to(model.device)
            captions = [clean.captions[row] for row in rows]
            _, times_B = _losses(model, x0_BCHW, captions, random)
            guard.weigh(times_B, [clean.keys[row] for row in rows], captions)
    return guard.threshold.fixed()


def _losses(
    model: DiffusionModel, x0_BCHW: Tensor, captions: list[str], random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each sample's squared error (B,) at a random timestep and noise, and the timesteps."""
    alphas = model.scheduler.alphas_cumprod
    times_B = torch.randint(len(alphas), (len(x0_BCHW),), generator=random)
    alpha_B111 = alphas[times_B].view(-1, 1, 1, 1).to(x0_BCHW.device)
    noise = torch.randn(x0_BCHW.shape, generator=random).to(x0_BCHW.device)
    noisy = alpha_B111.sqrt() * x0_BCHW + (1 - alpha_B111).sqrt() * noise
    target = noise
    if model.scheduler.config.prediction_type == "v_prediction":
        target = alpha_B111.sqrt() * noise - (1 - alpha_B111).sqrt() * x0_BCHW
    with torch.no_grad():
        text = model.encode(model.tokenize(captions))
    times_B = times_B.to(x0_BCHW.device)
    guess = model.unet(
        noisy, times_B, text.hidden_BLC, added_cond_kwargs=text.added or None, return_dict=False
    )[0]
    return (guess - target).square().flatten(1).mean(1), times_B


@torch.no_grad()
def _encode(model: DiffusionModel, vae: Any, pictures: Pictures) -> Tensor:
    """Scaled mean latents of the distinct pictures (N, C, h, w), kept on the CPU."""
    _, *size = model.latent_shape()
    height, width = (side * model.pixels_per_latent for side in size)
    found = []
    for start in range(0, len(pictures.png), ENCODED_AT_ONCE):
        images = decode(pictures.png[start : start + ENCODED_AT_ONCE], height, width)
        mean = vae.encode(images.to(vae.device, vae.dtype)).latent_dist.mean
        found.append(mean.float().cpu() * vae.config.scaling_factor)
    return torch.cat(found)


def _batches(count: int, batch: int, random: torch.Generator) -> Iterator[list[int]]:
    """Every row once in a random order, again and again; a batch may span two rounds."""
    left: list[int] = []
    while True:
        while len(left) < batch:
            left += torch.randperm(count, generator=random).tolist()
        yield left[:batch]
        left = left[batch:]
