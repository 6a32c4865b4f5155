"""Fine-tune on a set with repeats, with or without a guard, and measure copying and quality.

The set consists of the testbed's held-out images: some captions, one image each, are repeated many
times, others occur once. The remaining pairs are never trained on and measure quality.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from jobs.studies.mitigation.evaluator import LOW_TIMES, Evaluator, shared_evaluator
from jobs.studies.mitigation.weights import CountedWeights, oracle
from scanner.mitigation.finetune import LossWeights, finetune, make_guard
from scanner.mitigation.guard import Guard
from scanner.mitigation.guard_signals import Signal
from scanner.mitigation.moving_null import MovingNull
from scanner.mitigation.threshold import RunningQuantile
from scanner.mitigation.training_images import TrainingImages
from scanner.mitigation.training_options import TrainingOptions
from scanner.testbed import files, reproduction

DRAW = 5
REPEATED = 24
REPEATS = 30
ONCE = 360
BATCH = 32
RATE = 5e-4
MEASURED_EVERY = 100
BINS = 5
QUANTILE = 0.6
LAYERS = tuple(range(16))
MEASURED = pa.schema(
    {
        "run": pa.string(),
        "seed": pa.int64(),
        "step": pa.int64(),
        "unseen_loss": pa.float64(),
        "effective_samples": pa.float64(),
        "repeated_weight": pa.float64(),
        "once_weight": pa.float64(),
        "caption": pa.string(),
        "rmse": pa.float64(),
        "copied": pa.bool_(),
    }
)


@dataclass(frozen=True)
class FinetuneRun:
    """A fine-tuning run.

    ``weights``: what weighs the samples. off: nothing. oracle: drops every copy of a repeated
    caption but the first. quantile: a guard that drops samples beyond the running quantile.
    probability: a guard whose weights are 1 − P(memorized), by a moving null.
    """

    weights: Literal["off", "oracle", "quantile", "probability"]
    signal: Signal = "noise_norm"
    seed: int = 0
    steps: int = 400

    @property
    def name(self) -> str:
        if self.weights in ("off", "oracle"):
            return "no guard" if self.weights == "off" else "oracle"
        return f"{self.signal}, {self.weights}"


RUNS = (
    FinetuneRun("off"),
    FinetuneRun("oracle"),
    FinetuneRun("probability", "loss"),
    FinetuneRun("quantile"),
    FinetuneRun("probability"),
)


def tuning_runs(steps: int, seeds: int) -> list[FinetuneRun]:
    """Return every run with each seed."""
    return [replace(run, steps=steps, seed=seed) for run in RUNS for seed in range(seeds)]


def finetune_and_measure(run: FinetuneRun) -> pa.Table:
    """Return one row per measured step and repeated caption, generated with seed 0.

    Columns: run, seed, step, distance to its own image, whether it is a copy; and of the step the
    loss on unseen pairs, the sum of all weights, and the mean weight of repeated captions' samples
    and of others.
    """
    evaluator = Evaluator(shared_evaluator().bank_NF)  # not shared: training changes the U-Net
    repeated, once, unseen = split_pairs()
    tuning = TrainingOptions(run.steps, BATCH, RATE, seed=run.seed)
    guard = _guard(evaluator, run, tuning)
    weights: LossWeights | None = guard.loss_weights if guard else None
    counted = CountedWeights(oracle if run.weights == "oracle" else weights)
    captions = [caption for caption, _ in repeated]
    measured = []
    if run.weights == "off":  # all runs start alike
        measured.append(_measure(evaluator, run, 0, captions, unseen, counted))

    def after(step: int, _: float) -> None:
        if step % MEASURED_EVERY == 0 or step == run.steps:
            evaluator.model.denoiser.eval()
            measured.append(_measure(evaluator, run, step, captions, unseen, counted))
            evaluator.model.denoiser.train()

    images = training_set(repeated, once)
    with guard or nullcontext():
        finetune(evaluator.model, evaluator.pipe.vae, images, tuning, counted, after)
    return pa.concat_tables(measured)


def training_set(repeated: list, once: list) -> TrainingImages:
    rows = [(f"repeated {n}.{k}", *pair) for n, pair in enumerate(repeated) for k in range(REPEATS)]
    rows += [(f"once {n}", *pair) for n, pair in enumerate(once)]
    return TrainingImages.from_rows(rows)


def _guard(evaluator: Evaluator, run: FinetuneRun, tuning: TrainingOptions) -> Guard | None:
    if run.weights in ("off", "oracle"):
        return None
    model, vae = evaluator.model, evaluator.pipe.vae
    if run.weights == "probability":
        return make_guard(model, vae, run.signal, LAYERS, None, tuning, null=MovingNull())
    return make_guard(model, vae, run.signal, LAYERS, RunningQuantile(QUANTILE, BINS), tuning)


def split_pairs(skipped: int = REPEATED) -> tuple[list, list, list]:
    """Return (caption, image) pairs: repeated, once, unseen.

    Skips the first REPEATED pairs, on which the guards' settings were chosen.
    """
    table = pq.read_table(files.HELDOUT, columns=["caption", "image"]).to_pylist()
    order = np.random.default_rng(DRAW).permutation(len(table))
    pairs = [(table[n]["caption"], table[n]["image"]) for n in order]
    repeated, rest = pairs[skipped : skipped + REPEATED], pairs[2 * REPEATED :]
    return repeated, rest[:ONCE], rest[ONCE:]


@torch.no_grad()
def _measure(
    evaluator: Evaluator,
    run: FinetuneRun,
    step: int,
    captions: list[str],
    unseen: Any,
    counted: CountedWeights,
) -> pa.Table:
    images = reproduction.generate_images(evaluator.pipe, captions, seed=0)
    rmse, copied = evaluator.judge(images, captions)
    weights = counted.take_means()
    loss = _unseen_loss(evaluator, [caption for caption, _ in unseen])
    step_values = (run.name, run.seed, step, loss, counted.total, *weights.values())
    rows = zip(captions, rmse, copied, strict=True)
    return measured_table([(*step_values, *row) for row in rows])


def measured_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Return rows as :func:`finetune_and_measure` does; a step before any sample has no weights."""
    return pa.Table.from_pylist(
        [dict(zip(MEASURED.names, row, strict=True)) for row in rows], MEASURED
    )


def _unseen_loss(evaluator: Evaluator, captions: list[str]) -> float:
    """Return the mean squared error of the predicted noise on pairs never trained on."""
    own = [min(evaluator.own[caption]) for caption in captions]
    latents = evaluator.pipe.vae.encode(evaluator.bank_NCHW[own]).latent_dist.mean
    x0_BCHW = latents * evaluator.pipe.vae.config.scaling_factor
    text = evaluator.model.encode(evaluator.model.tokenize(captions))
    random = torch.Generator().manual_seed(0)
    total = 0.0
    for time in LOW_TIMES:
        alpha = float(evaluator.model.scheduler.alphas_cumprod[time])
        noise = torch.randn(x0_BCHW.shape, generator=random)
        noisy = alpha**0.5 * x0_BCHW + (1 - alpha) ** 0.5 * noise
        total += float((evaluator.model.predict(noisy, time, text) - noise).square().mean())
    return total / len(LOW_TIMES)
