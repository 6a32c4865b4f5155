"""Fine-tune a model's U-Net or transformer on captioned images, with or without a guard."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scanner.mitigation.guard import Guard
from scanner.mitigation.guard_signals import Direction, Signal
from scanner.mitigation.moving_null import MovingNull
from scanner.mitigation.threshold import Threshold
from scanner.mitigation.training_images import TrainingImages, decode_images
from scanner.mitigation.training_noise import add_noise
from scanner.mitigation.training_options import TrainingOptions
from scanner.models import DiffusionModel
from scanner.models.encoding import encode_images

ENCODE_BATCH = 16
CALIBRATION_SAMPLES = 2048  # two hundred for each of ten noise levels


LossWeights = Callable[[Tensor, Sequence[str], Sequence[str], Tensor], Tensor]
"""Returns the loss weights (B,) of samples from their timesteps, keys, captions and losses, as
:meth:`Guard.loss_weights` does."""


def encode_empty_caption(model: DiffusionModel) -> dict[str, Tensor]:
    """Return the denoiser's inputs for the empty caption by argument name, for a noise_norm
    guard."""
    empty = model.encode_empty()
    return {"encoder_hidden_states": empty.hidden_BLC, **empty.added}


def finetune(
    model: DiffusionModel,
    vae: Any,
    images: TrainingImages,
    options: TrainingOptions,
    loss_weights: LossWeights | None = None,
    after_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train ``model.denoiser`` in place, with the model's prediction type and noise schedule.

    ``loss_weights``: of a guard that the caller has entered. ``after_step``: called with the number
    of completed steps and the loss.
    """
    latents_NCHW = _encode(model, vae, images)
    random = torch.Generator().manual_seed(options.seed)
    denoiser = model.denoiser.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(denoiser.parameters(), options.rate, weight_decay=0.0)
    warmup = max(1, options.steps // 20)
    batches = _batches(len(images), options.batch, random)
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / warmup)
        rows = next(batches)
        dropped = (torch.rand(len(rows), generator=random) < options.caption_dropout).tolist()
        captions = [
            "" if empty else images.captions[row] for row, empty in zip(rows, dropped, strict=True)
        ]
        x0_BCHW = latents_NCHW[[images.index[row] for row in rows]].to(model.device)
        loss_B, times_B = _losses(model, x0_BCHW, captions, random)
        if loss_weights:
            keys = [images.keys[row] for row in rows]
            loss_B = loss_B * loss_weights(times_B, keys, captions, loss_B)
        loss = loss_B.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        after_step(step + 1, loss.item())
    denoiser.eval().requires_grad_(False)


def make_guard(
    model: DiffusionModel,
    vae: Any,
    signal: Signal,
    layers: tuple[int, ...],
    threshold: Threshold | float | None,
    options: TrainingOptions,
    softness: float = 0.0,
    clean: TrainingImages | None = None,
    direction: Direction | None = None,
    null: MovingNull | None = None,
    known: Mapping[str, float] | None = None,
) -> Guard:
    """Create a guard for a fine-tuning run, with arguments as for :class:`Guard`.

    ``clean``: pairs that are not memorized; ``threshold``, a RunningQuantile, is then measured on
    them once, before training.
    """

    def guard(threshold: Threshold | float | None) -> Guard:
        empty = encode_empty_caption(model) if signal == "noise_norm" else None
        return Guard(
            model.denoiser,
            signal,
            layers,
            threshold,
            softness,
            empty,
            model.tokenize,
            direction,
            null,
            known,
        )

    if clean is None:
        return guard(threshold)
    return guard(measure_thresholds(model, vae, clean, guard(threshold), options))


def measure_thresholds(
    model: DiffusionModel,
    vae: Any,
    clean: TrainingImages,
    guard: Guard,
    options: TrainingOptions,
    draws: int = CALIBRATION_SAMPLES,
) -> Threshold:
    """Measure fixed thresholds per noise level on samples known not to be memorized.

    Uses the model in its current state, with each sample at several noise levels: ``draws`` in all.
    ``guard``: created with a RunningQuantile, and used only for this.
    """
    latents_NCHW = _encode(model, vae, clean)
    random = torch.Generator().manual_seed(options.seed)
    batches = _batches(len(clean), options.batch, random)
    with guard:
        for rows in itertools.islice(batches, -(-draws // options.batch)):
            x0_BCHW = latents_NCHW[[clean.index[row] for row in rows]].to(model.device)
            captions = [clean.captions[row] for row in rows]
            loss_B, times_B = _losses(model, x0_BCHW, captions, random)
            guard.loss_weights(times_B, [clean.keys[row] for row in rows], captions, loss_B)
    return guard.threshold.freeze()


def _losses(
    model: DiffusionModel, x0_BCHW: Tensor, captions: list[str], random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return each sample's squared error (B,) at a random timestep and noise, and the timesteps."""
    noisy = add_noise(model, x0_BCHW, random)
    with torch.no_grad():
        text = model.encode(model.tokenize(captions))
    pred = model.run(model.denoiser, noisy.x_BCHW, noisy.times_B, text.hidden_BLC, text.added)
    return (pred - noisy.target_BCHW).square().flatten(1).mean(1), noisy.times_B


@torch.no_grad()
def _encode(model: DiffusionModel, vae: Any, images: TrainingImages) -> Tensor:
    """Return scaled mean latents of the distinct images (N, C, h, w), on the CPU."""
    _, *size = model.latent_shape()
    height, width = (side * model.pixels_per_latent for side in size)
    latents = []
    for start in range(0, len(images.files), ENCODE_BATCH):
        batch = decode_images(images.files[start : start + ENCODE_BATCH], height, width)
        latents.append(encode_images(vae, batch).float().cpu())
    return torch.cat(latents)


def _batches(count: int, batch: int, random: torch.Generator) -> Iterator[list[int]]:
    """Yield row numbers, reshuffled every epoch; a batch may span two epochs."""
    pending: list[int] = []
    while True:
        while len(pending) < batch:
            pending += torch.randperm(count, generator=random).tolist()
        yield pending[:batch]
        pending = pending[batch:]
